#!/usr/bin/env bash
# Starts the object gateway of Ceph before a cluster of one monitor and one disk, all on loopback.
#
#   ceph-up.sh DIR      writes DIR/pids and DIR/address
set -euo pipefail
. "$(dirname "$0")/common.sh"
here=$(cd "$(dirname "$0")" && pwd)
dir=$1

PATH=$PATH:/usr/sbin:/sbin
install radosgw=radosgw ceph-mon=ceph-mon ceph-osd=ceph-osd ceph=ceph-common python3=python3

read -r v2 v1 port < <(free_ports 3)
fsid=$(cat /proc/sys/kernel/random/uuid)
disk=$(cat /proc/sys/kernel/random/uuid)
mkdir "$dir"/{mon,osd,rgw,run,log}
cat >"$dir/ceph.conf" <<CONF
[global]
fsid = $fsid
mon host = [v2:127.0.0.1:$v2,v1:127.0.0.1:$v1]
public addr = 127.0.0.1
cluster addr = 127.0.0.1
# Without cephx the gateway does not start.
auth cluster required = cephx
auth service required = cephx
auth client required = cephx
# One disk holds all, and that is no reason to warn or to wait.
mon allow pool size one = true
osd pool default size = 1
osd pool default min size = 1
osd pool default pg num = 8
osd pool default pgp num = 8
osd crush chooseleaf type = 0
mon data avail crit = 1
mon data avail warn = 2
osd objectstore = memstore
memstore device bytes = 4294967296
# Keys of 1024 bytes.
osd max object name len = 2048
run dir = $dir/run
admin socket = $dir/run/\$name.asok
log file = $dir/log/\$name.log
mon data = $dir/mon
osd data = $dir/osd
rgw data = $dir/rgw
keyring = $dir/keyring
[client.rgw]
rgw frontends = beast endpoint=127.0.0.1:$port
rgw enable ops log = false
CONF
export CEPH_CONF=$dir/ceph.conf

fail() {
    echo "ceph: $1" >&2
    tail -n 20 "$dir"/log/* >&2
    exit 1
}

# start NAME COMMAND...: in the foreground of a process that we know, so that we can end it.
start() {
    local name=$1
    shift
    "$@" >"$dir/log/$name.out" 2>&1 &
    echo $! >>"$dir/pids"
}

ceph-authtool --create-keyring "$dir/keyring" --gen-key -n mon. --cap mon 'allow *' >/dev/null
ceph-authtool "$dir/keyring" --gen-key -n client.admin \
    --cap mon 'allow *' --cap osd 'allow *' --cap mgr 'allow *' >/dev/null
monmaptool --create --addv a "[v2:127.0.0.1:$v2,v1:127.0.0.1:$v1]" --fsid "$fsid" "$dir/monmap" >/dev/null
ceph-mon -i a --mkfs --monmap "$dir/monmap" --keyring "$dir/keyring"
start mon ceph-mon -f -i a
wait_for 60 $! ceph --connect-timeout 5 mon stat || fail "the monitor does not answer"

osd=$(ceph osd new "$disk")
ceph-osd -i "$osd" --no-mon-config --mkfs --mkkey --osd-uuid "$disk" --keyring "$dir/osd/keyring" \
    >"$dir/log/mkfs.out" 2>&1
ceph auth add "osd.$osd" mon 'allow profile osd' osd 'allow *' mgr 'allow profile osd' \
    -i "$dir/osd/keyring" >/dev/null 2>&1
start osd ceph-osd -f -i "$osd" --keyring "$dir/osd/keyring"
ceph osd crush add "osd.$osd" 1.0 host=localhost root=default >/dev/null 2>&1
up() { ceph osd stat | grep -q '1 up'; }
wait_for 60 $! up || fail "the disk does not come up"

ceph auth get-or-create client.rgw mon 'allow *' osd 'allow *' >"$dir/rgw/keyring"
start rgw radosgw -f -n client.rgw --keyring "$dir/rgw/keyring"
wait_for 120 $! answers "$port" || fail "the gateway does not answer"
radosgw-admin user create --uid=test --display-name=test \
    --access-key="$AWS_ACCESS_KEY_ID" --secret-key="$AWS_SECRET_ACCESS_KEY" >/dev/null 2>"$dir/log/user.out" ||
    fail "no user can be made"
wait_for 60 $! python3 "$here/make_bucket.py" "http://127.0.0.1:$port" "$BUCKET" || fail "no bucket can be made"
echo "s3://$BUCKET?endpoint=http://127.0.0.1:$port" >"$dir/address"
