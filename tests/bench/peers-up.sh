#!/usr/bin/env bash
# Installs the tools to compare with, from the package registries, into $BENCH_PEERS (default ~/.cache/sluice-bench).
# Takes 20 to 40 minutes of CPU on two cores, most of it for rustic; what is there already is kept.
set -euo pipefail
peers=${BENCH_PEERS:-$HOME/.cache/sluice-bench}
mkdir -p "$peers/bin"
cd "$peers"
unset CARGO_TARGET_DIR # theirs is not ours

root=()
((EUID == 0)) || root=(sudo)
packages=(restic zstd openssl python3-venv python3-dev pkg-config
    libsodium-dev libacl1-dev libssl-dev liblz4-dev libzstd-dev libxxhash-dev)
if ! dpkg -s "${packages[@]}" >/dev/null 2>&1; then
    "${root[@]}" apt-get update -qq
    "${root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq "${packages[@]}" >/dev/null
fi

# The distribution's restic (0.14 on Debian 12); newer ones are faster at restores only.
ln -sf "$(command -v restic)" bin/restic

if [[ ! -x bin/borg ]]; then
    python3 -m venv borg
    BORG_OPENSSL_PREFIX=/usr borg/bin/pip install -q borgbackup==1.4.5
    ln -sf ../borg/bin/borg bin/borg
fi

# peer COMMAND CRATE VERSION [FLAGS]
peer() {
    [[ -x bin/$1 ]] && return
    cargo install "$2" --version "$3" --locked --root "$peers/cargo" "${@:4}"
    ln -sf "../cargo/bin/$1" "bin/$1"
}
peer bupstash bupstash 0.12.0
peer conserve conserve 24.8.0 --no-default-features
peer rustic rustic-rs 0.11.4
ls -l bin
