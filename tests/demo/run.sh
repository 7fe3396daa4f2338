#!/usr/bin/env bash
# What Sluice does, shown on a volume of 1 GiB: `make demo`.
set -euo pipefail
cd "$(dirname "$0")/../.."
programs=${CARGO_TARGET_DIR:-target}/release
exec python3 tests/demo/demo.py "$programs/sluice" "$programs/s3-server"
