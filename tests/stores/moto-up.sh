#!/usr/bin/env bash
# Starts moto (https://github.com/getmoto/moto), an imitation of AWS in memory, from PyPI.
#
#   moto-up.sh DIR      writes DIR/pids and DIR/address
set -euo pipefail
. "$(dirname "$0")/common.sh"
dir=$1

version=5.2.5
venv=$SLUICE_CACHE/moto-$version
command -v python3 >/dev/null || install python3=python3
if [[ ! -e $venv/complete ]]; then
    # Debian ships the module without what it needs to make an environment.
    python3 -c 'import ensurepip' 2>/dev/null || install python3-venv-is-missing=python3-venv
    echo "installing moto $version"
    rm -rf "$venv"
    python3 -m venv "$venv"
    "$venv/bin/pip" install --quiet --disable-pip-version-check "moto[server,s3]==$version"
    touch "$venv/complete"
fi

port=$(free_ports 1)
"$venv/bin/moto_server" -H 127.0.0.1 -p "$port" >"$dir/log" 2>&1 &
echo $! >"$dir/pids"
endpoint=http://127.0.0.1:$port
if ! wait_for 60 $! python3 "$(dirname "$0")/make_bucket.py" "$endpoint" "$BUCKET"; then
    tail -20 "$dir/log" >&2
    exit 1
fi
echo "s3://$BUCKET?endpoint=$endpoint" >"$dir/address"
