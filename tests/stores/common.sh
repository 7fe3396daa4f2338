# Shared by the scripts of this folder; not run by itself.

SLUICE_CACHE=${SLUICE_CACHE:-${HOME:-/tmp}/.cache/sluice}

# The exit code of an up-script whose server cannot be had on this machine.
CANNOT_INSTALL=77

# The bucket that every server is given.
BUCKET=sluice-test

# skip REASON: says so, in words that .ci/run repeats, and ends.
skip() {
    echo "SKIPPED $(basename "$0" -up.sh): $*"
    exit $CANNOT_INSTALL
}

# install COMMAND=PACKAGE ...: installs what is missing by apt, or skips; a machine that has apt, root and no success
# has failed.
install() {
    local pair missing=() root=()
    for pair in "$@"; do
        command -v "${pair%%=*}" >/dev/null || missing+=("${pair#*=}")
    done
    ((${#missing[@]})) || return 0
    command -v apt-get >/dev/null || skip "no apt-get to install ${missing[*]}"
    if ((EUID != 0)); then
        sudo --non-interactive true 2>/dev/null || skip "only root can install ${missing[*]}"
        root=(sudo --non-interactive)
    fi
    echo "installing ${missing[*]}"
    # No service is started by a package: the servers are ours, with data that is thrown away.
    "${root[@]}" apt-get update -qq
    "${root[@]}" env DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 \
        apt-get install -qq -y --no-install-recommends "${missing[@]}" </dev/null >/dev/null
}

# free_ports N: prints N ports that nobody listens on.
free_ports() {
    python3 - "$1" <<'PYTHON'
import socket, sys
sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(int(sys.argv[1]))]
print(*(s.getsockname()[1] for s in sockets))
PYTHON
}

# wait_for SECONDS PID COMMAND...: runs COMMAND until it succeeds, PID ends or SECONDS have passed.
wait_for() {
    local end=$((SECONDS + $1)) pid=$2
    shift 2
    until "$@" >/dev/null 2>&1; do
        kill -0 "$pid" 2>/dev/null || return 1
        ((SECONDS < end)) || return 1
        sleep 0.1
    done
}

# answers PORT: whether somebody listens there.
answers() {
    (exec 3<>"/dev/tcp/127.0.0.1/$1")
}
