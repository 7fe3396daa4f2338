#!/usr/bin/env python3
"""Side-by-side benchmark of backup tools (standard library only, Linux, root).

  bench.py gen    --scale 1.0 [--datasets img,fs,big]      make deterministic datasets from seeds
  bench.py run    --datasets img,fs --tools a,b --reps 3   interleaved measurement (A B C A B C ...)
                  [--plugin ours.json] [--drop-caches] [--quiet-busy 0.25 --quiet-wait 300]
  bench.py limits                                          physical limits (dd, cp, tar, zstd, openssl)
  bench.py report --jsonl out/run.jsonl                    medians -> JSON + Markdown
  bench.py compare SRC DST                                 bit-by-bit tree compare (content + metadata)

A plug-in is a JSON file {"toolname": {...}} with the same keys as TOOLS below.  Every command is a
template run through `bash -c`; placeholders:
  {peers} BENCH_PEERS        {target} where cargo builds: CARGO_TARGET_DIR     {bin} the tool's binary   {src} dataset directory (data to back up)
  {repo} the tool's repository (fresh, empty)        {cache} the tool's cache/state directory
  {dst} empty restore directory   {tag} snapshot name of this step (initial, unchanged, incr...)
  {file} for one-image datasets: the image's path (else empty)   {dev} loop device of it (dataset imgdev)
  {extents} for one-image datasets: a file with the byte ranges changed since the previous step, one 'offset length' a
  line, sorted and merged (empty after step unchanged; not there at initial): what changed-block tracking would say
Keys: desc, bin, env{}, init, backup, restore, check, restored (where the tree lands, default "{dst}"),
  skip (list of datasets or "dataset:step"), version, nocheck.
A key may be suffixed "@dataset" or "@dataset:step" (e.g. "backup@imgdev", "backup@img:incr_random") to override it there.
BENCH_SEED (default v1) is the seed that `gen` uses; BENCH_DATA, BENCH_WORK, BENCH_OUT are the folders.
"""
import argparse, ctypes, hashlib, json, math, multiprocessing as mp, os, random, re, resource, shutil, signal
import stat, statistics, struct, subprocess, sys, threading, time

HERE = os.path.dirname(os.path.abspath(__file__))
PEERS = os.environ.get('BENCH_PEERS', os.path.expanduser('~/.cache/sluice-bench'))
DATA = os.environ.get('BENCH_DATA', os.path.join(PEERS, 'data'))
WORK = os.environ.get('BENCH_WORK', os.path.join(PEERS, 'work'))
OUT = os.environ.get('BENCH_OUT', os.path.join(PEERS, 'out'))
TARGET = os.environ.get('CARGO_TARGET_DIR') or os.path.normpath(os.path.join(HERE, '../../target'))
YARDSTICK = '_tar-zstd-aes'      # Z: what zstd -1 | openssl aes-256-ctr of the same data costs, and the way back
MiB = 1 << 20
PAGE = 8192
BASE_T = 1_700_000_000

# --------------------------------------------------------------------------- content generators
_V = {}

def vocab():
    """Seeded pools: words, sentences, column fragments (same in every process)."""
    if _V:
        return _V
    r = random.Random('vocab:1')
    syl = [c + v + (e if r.random() < .4 else '') for c in 'b c d f g h k l m n p r s t v w st tr pl ch'.split()
           for v in 'a e i o u ai ea ou'.split() for e in 'n r s t l'.split()]
    words = []
    for i in range(8192):
        words.append(''.join(r.choice(syl) for _ in range(1 if i < 300 else r.choice((1, 2, 2, 3, 3, 4)))))
    weights, a = [], 0.0
    for i in range(8192):
        a += 1.0 / (i + 2.7)
        weights.append(a)
    def text(n):
        return ' '.join(r.choices(words, cum_weights=weights, k=n))
    _V['words'] = words
    _V['sent'] = [(text(r.randint(5, 16)).capitalize() + '. ').encode() for _ in range(65536)]
    _V['frag'] = [(r.choice(words)[:12].capitalize() + ' ' + r.choice(words)[:14].capitalize()).encode() for _ in range(4096)]
    _V['mail'] = [('%s.%s@%s.example.%s' % (r.choice(words), r.choice(words), r.choice(words), r.choice(('com', 'org', 'net')))).encode() for _ in range(8192)]
    _V['stat'] = [b'active', b'pending', b'closed', b'shipped', b'cancelled', b'refunded', b'active', b'active']
    _V['json'] = [json.dumps({'k': r.choice(words), 'v': r.randint(0, 999999), 'tags': [r.choice(words) for _ in range(r.randint(0, 3))]}).encode() for _ in range(4096)]
    _V['tr64'] = bytes(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"[i & 63] for i in range(256))
    return _V


def db_page(r, pageno):
    """One 8 KiB heap page in the manner of PostgreSQL: header, line pointers, tuples from the tail."""
    v = vocab()
    frag, mail, stt, js = v['frag'], v['mail'], v['stat'], v['json']
    pack = struct.pack
    gb = r.getrandbits
    tup, size, n = [], 24, 0
    rid = pageno * 40
    ts = 758_000_000_000_000 + pageno * 3_600_000_000
    xmin = 7_000_000 + pageno // 3
    lp = []
    pos = PAGE
    while True:
        x = gb(96)
        ts += x & 0x3ffffff
        t = b''.join((pack('<IIIIHHBBqqIi', xmin + (x & 7), 0, 0, pageno, n + 1, 9, 2, 24, rid + n, ts, (x >> 26) & 0xffffffff, (x >> 40) % 20000),
                      frag[(x >> 58) & 4095], b'\x2b', mail[(x >> 70) & 8191], b'\x13', stt[(x >> 83) & 7], b'\x61', js[(x >> 84) & 4095]))
        t += b'\0' * (-len(t) % 8)
        if size + 4 + len(t) > PAGE:
            break
        size += 4 + len(t)
        pos -= len(t)
        lp.append(pos | (1 << 15) | (len(t) << 17))
        tup.append(t)
        n += 1
    tup.reverse()
    head = pack('<IIHHHHHHI', 0x1A, gb(32), gb(16), 4, 24 + 4 * n, pos, PAGE, PAGE | 4, 0) + pack('<%dI' % n, *lp)
    return head + b'\0' * (pos - len(head)) + b''.join(tup)


def gen_text(r, n):
    v = vocab()
    s = v['sent']
    out, k = [], 0
    while k < n:
        c = r.choices(s, k=32)
        c.append(b'%d-%d\n' % (r.getrandbits(20), k))
        b = b''.join(c)
        out.append(b)
        k += len(b)
    return b''.join(out)[:n]


def gen_log(r, n):
    v = vocab()
    f, m = v['frag'], v['mail']
    out, k, t = [], 0, BASE_T * 1000 + r.getrandbits(30)
    while k < n:
        x = r.getrandbits(64)
        t += x & 1023
        b = b'{"ts":%d,"level":"%s","svc":"%s","user":"%s","lat_us":%d,"id":"%016x"}\n' % (
            t, (b'info', b'info', b'warn', b'debug')[(x >> 10) & 3], f[(x >> 12) & 4095], m[(x >> 24) & 8191], (x >> 37) & 65535, x)
        out.append(b)
        k += len(b)
    return b''.join(out)[:n]


def gen_rand(r, n):
    if n <= 4 * MiB:
        return r.randbytes(n)
    out = []
    while n:
        k = min(n, 4 * MiB)
        out.append(r.randbytes(k))
        n -= k
    return b''.join(out)


def gen_b64(r, n):
    return gen_rand(r, n).translate(vocab()['tr64'])


def gen_db(r, n, first=0):
    return b''.join(db_page(r, first + i) for i in range((n + PAGE - 1) // PAGE))[:n]

# --------------------------------------------------------------------------- image
HOLE, ZERO, DB, RAND, DUP = 'hole', 'zero', 'db', 'rand', 'dup'


def plan_image(seed, size):
    """Extents [(kind, off, len, extra)]: 45% db pages, 35% incompressible, 20% zero (13% holes, 7% written
    zeros) by bytes; about 4% of the data extents are copies of earlier ones at another offset."""
    r = random.Random('plan:%s' % seed)
    npg = size // PAGE
    want = {DB: .45, RAND: .35, HOLE: .13, ZERO: .07}
    have = dict.fromkeys(want, 0)
    ext, p = [], 0
    while p < npg:
        # the kind that is furthest behind its share, with some noise
        k = max(want, key=lambda q: want[q] * (p + 4096) - have[q] + r.random() * 600)
        n = min(npg - p, max(4, int(r.lognormvariate(math.log(96), 1.2))))     # pages; median 768 KiB
        n = min(n, 4096)
        extra = None
        if k in (DB, RAND) and r.random() < .04:
            src = [e for e in ext[-400:] if e[0] == k and e[2] >= 16 * PAGE]
            if src:
                s = r.choice(src)
                n = min(n, s[2] // PAGE)
                extra = ('dup', ext.index(s))
        ext.append((k, p * PAGE, n * PAGE, extra))
        have[k] += n
        p += n
    return ext


def ext_bytes(seed, ext, i, n=None):
    k, off, ln, extra = ext[i]
    if extra:
        return ext_bytes(seed, ext, extra[1])[:ln]
    r = random.Random('%s:ext:%d' % (seed, i))
    if k == DB:
        return gen_db(r, ln, off // PAGE)
    if k == RAND:
        return gen_rand(r, ln)
    return b'\0' * ln


_G = {}


def _img_worker(a):
    path, seed, size, idx = a
    key = (seed, size)
    if key not in _G:
        _G[key] = plan_image(seed, size)
    ext = _G[key]
    fd = os.open(path, os.O_WRONLY)
    for i in idx:
        if ext[i][0] != HOLE:
            os.pwrite(fd, ext_bytes(seed, ext, i), ext[i][1])
    os.close(fd)


def gen_image(path, seed, size):
    with open(path, 'wb') as f:
        f.truncate(size)
    ext = plan_image(seed, size)
    idx = list(range(len(ext)))
    with mp.Pool(2) as p:
        p.map(_img_worker, [(path, seed, size, idx[i:i + 16]) for i in range(0, len(idx), 16)], chunksize=1)
    os.utime(path, (BASE_T, BASE_T))
    tot = {}
    for e in ext:
        k = e[0] + ('-dup' if e[3] else '')
        tot[k] = tot.get(k, 0) + e[2]
    return {k: round(v / size, 4) for k, v in sorted(tot.items())}


def mutate_image(path, seed, size, mode, undo):
    """Rewrite 1% of the 8 KiB pages (outside holes).  mode 'random': single pages anywhere; 'clustered': runs of
    32..256 pages.  db pages: 60% a small in-place edit (tuple + header), 40% a wholly new page; others: new random."""
    ext = plan_image(seed, size)
    kinds = {}
    pages = []
    for k, off, ln, _ in ext:
        if k != HOLE:
            for q in range(off // PAGE, (off + ln) // PAGE):
                pages.append(q)
                kinds[q] = k
    r = random.Random('mut:%s:%s' % (seed, mode))
    n = max(1, size // PAGE // 100)
    if mode == 'random':
        sel = r.sample(pages, n)
    else:
        sel, seen = [], set()
        while len(sel) < n:
            i = r.randrange(len(pages))
            for q in pages[i:i + r.randint(32, 256)]:
                if q not in seen and len(sel) < n:
                    seen.add(q)
                    sel.append(q)
    sel.sort()
    with open(path, 'r+b') as f, open(undo, 'wb') as u:
        for q in sel:
            f.seek(q * PAGE)
            old = f.read(PAGE)
            u.write(struct.pack('<Q', q) + old)
            if kinds[q] == DB and r.random() < .6:
                b = bytearray(old)
                b[4:8] = r.randbytes(4)
                o = r.randrange(1024, PAGE - 256)
                b[o:o + 120] = gen_text(r, 120)
                new = bytes(b)
            elif kinds[q] in (DB, ZERO):
                new = db_page(r, q)
            else:
                new = r.randbytes(PAGE)
            f.seek(q * PAGE)
            f.write(new)
    write_extents(sel)
    return {'pages': len(sel), 'bytes': len(sel) * PAGE}


def extents_path():
    return os.path.join(DATA, 'img.extents')


def write_extents(pages):
    """The changed pages (sorted) as merged 'offset length' lines."""
    runs = []
    for q in pages:
        if runs and runs[-1][0] + runs[-1][1] == q:
            runs[-1][1] += 1
        else:
            runs.append([q, 1])
    with open(extents_path(), 'w') as f:
        f.writelines('%d %d\n' % (q * PAGE, n * PAGE) for q, n in runs)


def undo_image(path, undo):
    with open(path, 'r+b') as f, open(undo, 'rb') as u:
        while True:
            h = u.read(8)
            if not h:
                break
            f.seek(struct.unpack('<Q', h)[0] * PAGE)
            f.write(u.read(PAGE))
    os.unlink(undo)
    os.utime(path, (BASE_T, BASE_T))

# --------------------------------------------------------------------------- tree
def plan_tree(seed, nfiles):
    r = random.Random('tree:%s' % seed)
    w = vocab()['words']
    ndirs = max(8, nfiles // 50)
    dirs, depth = [''], [0]
    used = {''}
    while len(dirs) < ndirs:
        p = int(len(dirs) * r.random() ** 1.3)
        if depth[p] >= 7:
            continue
        d = os.path.join(dirs[p], r.choice(w) + ('-%d' % r.randrange(100) if r.random() < .4 else ''))
        if d in used:
            continue
        used.add(d)
        dirs.append(d)
        depth.append(depth[p] + 1)
    per = {}
    for i in range(nfiles):
        per.setdefault(int(ndirs * r.random() ** 1.2), []).append(i)
    return dirs, per


EXT = {'text': ['.txt', '.md', '.py', '.go', '.html', '.xml'], 'log': ['.log', '.json', '.jsonl'], 'rand': ['.jpg', '.gz', '.mp4', '.bin'], 'b64': ['.pem', '.b64', '.eml'], 'db': ['.db', '.idx']}


def file_content(r, kind, size):
    return {'text': gen_text, 'log': gen_log, 'rand': gen_rand, 'b64': gen_b64, 'db': gen_db}[kind](r, size)


def _file_spec(seed, i):
    r = random.Random('%s:f:%d' % (seed, i))
    x = r.random()
    kind = 'text' if x < .38 else 'log' if x < .55 else 'rand' if x < .85 else 'b64' if x < .93 else 'db'
    size = 0 if r.random() < .01 else min(64 * MiB, int(r.lognormvariate(8.3546, 1.8)))
    src = i
    if i > 100 and r.random() < .04:         # exact duplicate of an earlier file
        src = r.randrange(i)
    return r, kind, size, src


def _tree_worker(a):
    root, seed, d, ids = a
    w = vocab()['words']
    made = []
    for i in ids:
        r, kind, size, src = _file_spec(seed, i)
        nm = '%s_%d%s' % (r.choice(w), i, r.choice(EXT[kind]))
        if r.random() < .01:
            nm = 'Datei mit Leerzeichen \u00fc\u4e2d ' + nm
        p = os.path.join(root, d, nm)
        sparse = r.random() < .0005
        if src != i:
            rs, kind, size, _ = _file_spec(seed, src)
            b = file_content(random.Random('%s:c:%d' % (seed, src)), kind, size)
        elif not sparse:
            b = file_content(random.Random('%s:c:%d' % (seed, i)), kind, size)
        with open(p, 'wb') as f:
            if sparse:
                n = r.randint(1, 4) * MiB
                f.truncate(n)
                for _ in range(r.randint(1, 4)):
                    f.seek(r.randrange(n // 4096) * 4096)
                    f.write(r.randbytes(4096))
            else:
                f.write(b)
        if r.random() < .02:
            os.setxattr(p, 'user.bench.tag', r.randbytes(r.randint(16, 64)))
            if r.random() < .1:
                os.setxattr(p, 'user.bench.note', gen_text(r, 200))
        if r.random() < .05:
            os.chown(p, 1000 + r.randrange(4), 1000)
        os.chmod(p, r.choice((0o644, 0o644, 0o644, 0o600, 0o755, 0o640)))
        t = (BASE_T - r.randrange(3 * 365 * 86400)) * 10**9 + r.randrange(10**9)
        os.utime(p, ns=(t, t))
        made.append((i, os.path.join(d, nm), sparse))
    return made


def gen_tree(root, seed, nfiles):
    dirs, per = plan_tree(seed, nfiles)
    for d in dirs:
        os.makedirs(os.path.join(root, d), exist_ok=True)
    jobs = [(root, seed, dirs[k], v) for k, v in sorted(per.items())]
    files = []
    with mp.Pool(2) as p:
        for m in p.imap(_tree_worker, jobs, chunksize=8):
            files += m
    files.sort()
    r = random.Random('links:%s' % seed)
    hl = []
    plain = [f for f in files if not f[2]]
    for j, f in enumerate(r.sample(plain, nfiles // 100)):
        d = r.choice(dirs)
        n = os.path.join(d, 'hl_%d' % j)
        os.link(os.path.join(root, f[1]), os.path.join(root, n))
        hl.append((f[1], n))
    for j, f in enumerate(r.sample(files, nfiles // 50)):
        d = r.choice(dirs)
        tgt = os.path.relpath(f[1], d or '.') if r.random() < .9 else '/nonexistent/%d' % j
        p = os.path.join(root, d, 'sl_%d' % j)
        os.symlink(tgt, p)
        os.utime(p, (BASE_T, BASE_T), follow_symlinks=False)
    for d in sorted(dirs, reverse=True):
        os.utime(os.path.join(root, d), (BASE_T, BASE_T))
    json.dump({'files': [f[1] for f in files], 'hardlinked': [h[0] for h in hl], 'sparse': [f[1] for f in files if f[2]], 'dirs': dirs},
              open(root.rstrip('/') + '.plan.json', 'w'))
    return {'files': len(files), 'dirs': len(dirs), 'hardlinks': len(hl), 'symlinks': nfiles // 50, 'sparse': sum(f[2] for f in files)}


def mutate_tree(root, seed, undo):
    """1% changed (half rewritten, 30% appended, 20% small edit), 0.5% added, 0.5% deleted.  Undo by renames."""
    pl = json.load(open(root.rstrip('/') + '.plan.json'))
    r = random.Random('treemut:%s' % seed)
    skip = set(pl['hardlinked']) | set(pl['sparse'])
    fl = [f for f in pl['files'] if f not in skip]
    n = len(pl['files'])
    sel = r.sample(fl, n // 100 + n // 200)
    chg, dele = sel[:n // 100], sel[n // 100:]
    shutil.rmtree(undo, ignore_errors=True)
    os.makedirs(undo)
    log = {'moved': [], 'added': []}
    nb = 0
    for j, f in enumerate(chg):
        p = os.path.join(root, f)
        st = os.lstat(p)
        b = bytearray(open(p, 'rb').read())
        xa = {k: os.getxattr(p, k) for k in os.listxattr(p)}
        os.rename(p, os.path.join(undo, str(j)))
        log['moved'].append((f, j))
        x = r.random()
        if x < .5 or len(b) < 64:
            b = gen_text(r, max(64, len(b))) if r.random() < .6 else gen_rand(r, max(64, len(b)))
        elif x < .8:
            b = bytes(b) + gen_text(r, r.randint(100, 20000))
        else:
            o = r.randrange(len(b) - 32)
            b[o:o + 32] = r.randbytes(32)
        with open(p, 'wb') as fo:
            fo.write(b)
        nb += len(b)
        for k, v in xa.items():
            os.setxattr(p, k, v)
        os.chown(p, st.st_uid, st.st_gid)
        os.chmod(p, stat.S_IMODE(st.st_mode))
        os.utime(p, (BASE_T + 86400 + j, BASE_T + 86400 + j))
    for j, f in enumerate(dele):
        os.rename(os.path.join(root, f), os.path.join(undo, 'd%d' % j))
        log['moved'].append((f, 'd%d' % j))
    for j in range(n // 200):
        f = os.path.join(r.choice(pl['dirs']), 'added_%d.dat' % j)
        p = os.path.join(root, f)
        b = file_content(r, r.choice(('text', 'log', 'rand', 'b64')), min(64 * MiB, int(r.lognormvariate(8.3546, 1.8))))
        with open(p, 'wb') as fo:
            fo.write(b)
        nb += len(b)
        os.utime(p, (BASE_T + 86400, BASE_T + 86400))
        log['added'].append(f)
    json.dump(log, open(os.path.join(undo, 'log.json'), 'w'))
    return {'changed': len(chg), 'deleted': len(dele), 'added': len(log['added']), 'bytes': nb}


def undo_tree(root, undo):
    pl = json.load(open(root.rstrip('/') + '.plan.json'))
    log = json.load(open(os.path.join(undo, 'log.json')))
    for f in log['added']:
        os.unlink(os.path.join(root, f))
    for f, j in log['moved']:
        os.rename(os.path.join(undo, str(j)), os.path.join(root, f))
    for d in sorted(pl['dirs'], reverse=True):
        os.utime(os.path.join(root, d), (BASE_T, BASE_T))
    shutil.rmtree(undo)

# --------------------------------------------------------------------------- big
def _big_worker(a):
    root, seed, j, size = a
    p = os.path.join(root, 'big%d.dat' % j)
    r = random.Random('%s:big:%d' % (seed, j))
    with open(p, 'wb') as f:
        if j == 7:            # copy of file 0 with short insertions: content-defined chunking must resynchronise
            b = open(os.path.join(root, 'big0.dat'), 'rb').read()
            cuts = sorted(r.randrange(len(b)) for _ in range(16))
            o = 0
            for c in cuts:
                f.write(b[o:c] + r.randbytes(r.randint(1, 200)))
                o = c
            f.write(b[o:size - f.tell() + o] if size - f.tell() > 0 else b'')
            f.truncate(size)
        else:
            o = 0
            while o < size:
                k = min(size - o, max(65536, int(r.lognormvariate(math.log(3 * MiB), .8)) & ~4095))
                kind = ('db', 'log', 'rand', 'text', 'b64', 'rand', 'mix')[j]
                if kind == 'mix':
                    kind = r.choice(('db', 'log', 'rand', 'zero', 'text'))
                f.write(b'\0' * k if kind == 'zero' else file_content(r, kind, k))
                o += k
            f.truncate(size)
    os.utime(p, (BASE_T, BASE_T))


def gen_big(root, seed, size):
    os.makedirs(root, exist_ok=True)
    with mp.Pool(2) as p:
        p.map(_big_worker, [(root, seed, j, size) for j in range(7)], chunksize=1)
        p.map(_big_worker, [(root, seed, 7, size)])
    os.utime(root, (BASE_T, BASE_T))
    return {'files': 8, 'each': size}


def mutate_big(root, seed, undo):
    """Per file: 1% of the bytes rewritten in runs of 4 KiB..1 MiB; undo by page log."""
    with open(undo, 'wb') as u:
        for j in range(8):
            r = random.Random('bigmut:%s:%d' % (seed, j))
            p = os.path.join(root, 'big%d.dat' % j)
            size = os.path.getsize(p)
            left = size // 100
            with open(p, 'r+b') as f:
                while left > 0:
                    k = min(left, 4096 << r.randrange(9))
                    o = r.randrange(0, size - k)
                    f.seek(o)
                    old = f.read(k)
                    u.write(struct.pack('<QQQ', j, o, k) + old)
                    f.seek(o)
                    f.write(gen_text(r, k) if r.random() < .5 else r.randbytes(k))
                    left -= k
    return {}


def undo_big(root, undo):
    rec = []
    with open(undo, 'rb') as u:
        while True:
            h = u.read(24)
            if not h:
                break
            j, o, k = struct.unpack('<QQQ', h)
            rec.append((j, o, u.read(k)))
    for j, o, b in reversed(rec):
        with open(os.path.join(root, 'big%d.dat' % j), 'r+b') as f:
            f.seek(o)
            f.write(b)
    for j in range(8):
        os.utime(os.path.join(root, 'big%d.dat' % j), (BASE_T, BASE_T))
    os.unlink(undo)

# --------------------------------------------------------------------------- dataset registry
def meta():
    p = os.path.join(DATA, 'meta.json')
    return json.load(open(p)) if os.path.exists(p) else {}


def tree_digest(root):
    """Digest of names, types, sizes, contents (mtime of files too): proves two machines have the same data."""
    h = hashlib.sha256()
    tot = nf = alloc = 0
    seen = set()
    for dp, dn, fn in os.walk(root):
        dn.sort()
        for f in sorted(fn):
            p = os.path.join(dp, f)
            st = os.lstat(p)
            h.update(os.fsencode(os.path.relpath(p, root)) + b'\0%o\0%d\0' % (st.st_mode, st.st_mtime_ns))
            if stat.S_ISLNK(st.st_mode):
                h.update(os.fsencode(os.readlink(p)))
                continue
            if st.st_ino not in seen:
                seen.add(st.st_ino)
                tot += st.st_size
                alloc += st.st_blocks * 512
            nf += 1
            with open(p, 'rb') as fo:
                while True:
                    b = fo.read(4 * MiB)
                    if not b:
                        break
                    h.update(b)
    return h.hexdigest(), tot, nf, alloc


def cmd_gen(a):
    os.makedirs(DATA, exist_ok=True)
    m = meta()
    for ds in a.datasets.split(','):
        t = time.time()
        root = os.path.join(DATA, ds)
        shutil.rmtree(root, ignore_errors=True)
        os.makedirs(root)
        seed = os.environ.get('BENCH_SEED', 'v1') + '-' + ds
        if ds == 'img':
            size = int(4096 * MiB * a.scale) // (4 * MiB) * (4 * MiB)
            info = gen_image(os.path.join(root, 'db.img'), seed, size)
            os.utime(root, (BASE_T, BASE_T))
        elif ds == 'fs':
            info = gen_tree(root, seed, int(200000 * a.scale))
        elif ds == 'big':
            info = gen_big(root, seed, int(512 * MiB * a.scale))
        else:
            sys.exit('unknown dataset ' + ds)
        d, tot, nf, alloc = tree_digest(root)
        m[ds] = {'seed': seed, 'scale': a.scale, 'info': info, 'sha256': d, 'bytes': tot, 'files': nf, 'allocated': alloc, 'gen_s': round(time.time() - t, 1)}
        print(ds, json.dumps(m[ds]), flush=True)
        json.dump(m, open(os.path.join(DATA, 'meta.json'), 'w'), indent=1)


STEPS = {
    'img': ['initial', 'unchanged', 'incr_random', 'incr_clustered', 'restore', 'check'],
    'fs': ['initial', 'unchanged', 'incr', 'restore', 'check'],
    'big': ['initial', 'unchanged', 'incr', 'restore', 'check'],
}


def ds_base(ds):
    return 'img' if ds == 'imgdev' else ds


def prepare_step(ds, step, m):
    """Bring the dataset into the state the step wants (called once per rep and step, for all tools)."""
    b = ds_base(ds)
    root = os.path.join(DATA, b)
    u = os.path.join(DATA, b + '.undo.' + step)
    if b == 'img':
        img = os.path.join(root, 'db.img')
        if step == 'unchanged':
            os.utime(img, (BASE_T + 3600, BASE_T + 3600))     # a new snapshot of a volume: no trustworthy mtime
            write_extents([])
        elif step in ('incr_random', 'incr_clustered'):
            info = mutate_image(img, m['img']['seed'], m['img']['bytes'], step[5:], u)
            t = BASE_T + (7200 if step == 'incr_random' else 10800)
            os.utime(img, (t, t))
            return info
    elif step == 'incr':
        return mutate_tree(root, m['fs']['seed'], u) if b == 'fs' else mutate_big(root, m['big']['seed'], u)


def undo_all(ds):
    b = ds_base(ds)
    root = os.path.join(DATA, b)
    for s in reversed(STEPS[b]):
        u = os.path.join(DATA, b + '.undo.' + s)
        if os.path.exists(u):
            if b == 'img':
                undo_image(os.path.join(root, 'db.img'), u)
            elif b == 'fs':
                undo_tree(root, u)
            else:
                undo_big(root, u)
    if b == 'img':
        os.utime(os.path.join(root, 'db.img'), (BASE_T, BASE_T))
        os.utime(root, (BASE_T, BASE_T))

# --------------------------------------------------------------------------- compare
def _walk(root):
    out = {}
    st = [('', root)]
    while st:
        rel, p = st.pop()
        with os.scandir(p) as it:
            for e in it:
                r = os.path.join(rel, e.name)
                s = e.stat(follow_symlinks=False)
                out[r] = s
                if stat.S_ISDIR(s.st_mode):
                    st.append((r, e.path))
    return out


def _cmp_chunk(a):
    src, dst, names = a
    bad, xbad = [], 0
    for n in names:
        p, q = os.path.join(src, n), os.path.join(dst, n)
        with open(p, 'rb', buffering=0) as f, open(q, 'rb', buffering=0) as g:
            while True:
                x = f.read(4 * MiB)
                if x != g.read(4 * MiB):
                    bad.append(n)
                    break
                if not x:
                    break
        if {k: os.getxattr(p, k) for k in os.listxattr(p)} != {k: os.getxattr(q, k) for k in os.listxattr(q)}:
            xbad += 1
    return bad, xbad


def compare(src, dst):
    A, B = _walk(src), _walk(dst)
    r = {'missing': 0, 'extra': 0, 'type': 0, 'size': 0, 'content': 0, 'symlink': 0, 'mode': 0, 'owner': 0, 'mtime': 0, 'mtime_ns': 0, 'mtime_dir': 0,
         'xattr': 0, 'hardlink': 0, 'unsparse_bytes': 0, 'files': 0, 'examples': []}
    ex = r['examples']
    todo = []
    inoA, inoB = {}, {}
    ca = cb = 0
    for n, s in A.items():
        t = B.get(n)
        if t is None:
            r['missing'] += 1
            ex.append('missing ' + n)
            continue
        if stat.S_IFMT(s.st_mode) != stat.S_IFMT(t.st_mode):
            r['type'] += 1
            ex.append('type ' + n)
            continue
        if stat.S_ISLNK(s.st_mode):
            if os.readlink(os.path.join(src, n)) != os.readlink(os.path.join(dst, n)):
                r['symlink'] += 1
            continue
        if s.st_mode != t.st_mode:
            r['mode'] += 1
        if (s.st_uid, s.st_gid) != (t.st_uid, t.st_gid):
            r['owner'] += 1
        if stat.S_ISDIR(s.st_mode):
            if s.st_mtime_ns // 10**9 != t.st_mtime_ns // 10**9:
                r['mtime_dir'] += 1
            continue
        if s.st_mtime_ns // 10**9 != t.st_mtime_ns // 10**9:
            r['mtime'] += 1
        elif s.st_mtime_ns != t.st_mtime_ns:
            r['mtime_ns'] += 1
        if stat.S_ISREG(s.st_mode):
            r['files'] += 1
            ca += s.st_blocks
            cb += t.st_blocks
            if s.st_nlink > 1:
                inoA.setdefault(s.st_ino, []).append(n)
            if t.st_nlink > 1:
                inoB.setdefault(t.st_ino, []).append(n)
            if s.st_size != t.st_size:
                r['size'] += 1
                ex.append('size ' + n)
                continue
            todo.append(n)
    r['extra'] = len(set(B) - set(A))
    ga = {tuple(sorted(v)) for v in inoA.values() if len(v) > 1}
    gb = {tuple(sorted(v)) for v in inoB.values() if len(v) > 1}
    r['hardlink'] = len(ga - gb)
    r['unsparse_bytes'] = max(0, (cb - ca) * 512)
    k = 512
    jobs = [(src, dst, todo[i:i + k]) for i in range(0, len(todo), k)]
    if len(jobs) > 1:
        with mp.Pool(2) as p:
            res = p.map(_cmp_chunk, jobs, chunksize=1)
    else:
        res = [_cmp_chunk(j) for j in jobs]
    for bad, xb in res:
        r['content'] += len(bad)
        r['xattr'] += xb
        ex += ['content ' + b for b in bad[:5]]
    del ex[8:]
    r['ok'] = not (r['missing'] or r['type'] or r['size'] or r['content'] or r['symlink'])
    return r

# --------------------------------------------------------------------------- measuring
HZ = os.sysconf('SC_CLK_TCK')
PG = os.sysconf('SC_PAGE_SIZE')


def cpu_busy():
    f = open('/proc/stat').readline().split()[1:]
    v = [int(x) for x in f]
    return (v[0] + v[1] + v[2] + v[5] + v[6]) / HZ, v[7] / HZ


def foreign_busy(sec=1.0):
    a, _ = cpu_busy()
    t = time.time()
    time.sleep(sec)
    return (cpu_busy()[0] - a) / (time.time() - t)


def wait_quiet(busy, limit):
    t0 = time.time()
    while True:
        b = max(foreign_busy(.7), 0)
        if b <= busy or time.time() - t0 > limit:
            return time.time() - t0, b
        time.sleep(3)


def tree_pids(pid):
    out, st = [], [pid]
    while st:
        p = st.pop()
        out.append(p)
        try:
            for t in os.listdir('/proc/%d/task' % p):
                c = open('/proc/%d/task/%s/children' % (p, t)).read()
                if c:
                    st += map(int, c.split())
        except OSError:
            pass
    return out


def proc_io(pid):
    try:
        return {k: int(v) for k, v in (l.split(':') for l in open('/proc/%d/io' % pid))}
    except OSError:
        return {}


def drop_caches():
    os.sync()
    with open('/proc/sys/vm/drop_caches', 'w') as f:
        f.write('3')


libc = ctypes.CDLL(None, use_errno=True)


def run_cmd(cmd, env, log, timeout=3600):
    """Run a command; wall, CPU of the whole waited tree, peak RSS (sampled sum over the tree, and the kernel's
    maximum of one process), I/O counters, foreign CPU during the run, time of the final sync."""
    e = {k: v for k, v in os.environ.items() if not k.startswith(('PIP_', 'RUST', 'GO'))}
    e.update(env)
    e['LC_ALL'] = 'C.UTF-8'
    lf = open(log, 'ab')
    lf.write(('\n$ %s\n' % cmd).encode())
    lf.flush()
    b0, s0 = cpu_busy()
    ru0 = resource.getrusage(resource.RUSAGE_SELF)
    t0 = time.perf_counter()
    p = subprocess.Popen(['bash', '-c', cmd], env=e, stdin=subprocess.DEVNULL, stdout=lf, stderr=lf, start_new_session=True)
    peak = anon = 0
    done = threading.Event()
    res = {}

    def waiter():
        os.waitid(os.P_PID, p.pid, os.WEXITED | os.WNOWAIT)
        res['t1'] = time.perf_counter()
        done.set()
    th = threading.Thread(target=waiter, daemon=True)
    th.start()
    killed = False
    while not done.wait(.05):
        r = s = 0
        for q in tree_pids(p.pid):
            try:
                for l in open('/proc/%d/status' % q):
                    if l.startswith('VmHWM'):          # high-water mark since exec: short peaks between samples count
                        r += int(l.split()[1])
                    elif l.startswith('RssAnon'):
                        s += int(l.split()[1])
            except (OSError, IndexError, ValueError):
                pass
        peak, anon = max(peak, r * 1024), max(anon, s * 1024)
        if time.perf_counter() - t0 > timeout and not killed:
            killed = True
            os.killpg(p.pid, signal.SIGKILL)
    th.join()
    b1, s1 = cpu_busy()
    io = proc_io(p.pid)
    _, status, ru = os.wait4(p.pid, 0)
    p.returncode = os.waitstatus_to_exitcode(status)
    ru1 = resource.getrusage(resource.RUSAGE_SELF)
    own = ru1.ru_utime + ru1.ru_stime - ru0.ru_utime - ru0.ru_stime
    wall = res['t1'] - t0
    ts = time.perf_counter()
    os.sync()
    sync = time.perf_counter() - ts
    lf.close()
    cpu = ru.ru_utime + ru.ru_stime
    return {'rc': p.returncode, 'wall': round(wall, 3), 'user': round(ru.ru_utime, 3), 'sys': round(ru.ru_stime, 3), 'cpu': round(cpu, 3),
            'rss': peak, 'rss_one': ru.ru_maxrss * 1024, 'anon': anon,   # rss_one inherits the harness's own RSS at fork: a floor
            'rchar': io.get('rchar'), 'wchar': io.get('wchar'), 'read_bytes': io.get('read_bytes'), 'write_bytes': io.get('write_bytes'),
            'sync_s': round(sync, 3), 'foreign_cpu': round(max(0, b1 - b0 - cpu - own) / max(wall, .001), 3), 'steal': round((s1 - s0) / max(wall, .001), 3), 'killed': killed}


def du(path):
    app = alloc = n = 0
    for dp, dn, fn in os.walk(path):
        for f in fn:
            s = os.lstat(os.path.join(dp, f))
            app += s.st_size
            alloc += s.st_blocks * 512
            n += 1
    return app, alloc, n

# --------------------------------------------------------------------------- the tools
TOOLS = json.load(open(os.path.join(HERE, 'tools.json')))


def get(t, key, ds, step=''):
    return t.get('%s@%s:%s' % (key, ds, step), t.get(key + '@' + ds, t.get(key)))


def binary(t):
    return t.get('bin', '').format(peers=PEERS, target=TARGET)


def cmd_run(a):
    tools = dict(TOOLS)
    for p in a.plugin or []:
        tools.update(json.load(open(p)))
    names = [n for n in a.tools.split(',') if n]
    for n in names:
        if n not in tools:
            sys.exit('unknown tool %s; have %s' % (n, ', '.join(tools)))
    os.makedirs(OUT, exist_ok=True)
    m = meta()
    jl = os.path.join(OUT, a.name + '.jsonl')
    jf = open(jl, 'a')
    ver = {}
    for n in names:
        t = tools[n]
        v = t.get('version', '{bin} --version').format(bin=binary(t), peers=PEERS)
        ver[n] = subprocess.run(v, shell=True, capture_output=True, text=True).stdout.strip().split('\n')[0]
    jf.write(json.dumps({'type': 'run', 'time': time.strftime('%F %T'), 'datasets': m, 'tools': {n: {'desc': tools[n].get('desc'), 'version': ver[n]} for n in names},
                         'args': vars(a) | {'fn': None}, 'cpu': os.cpu_count(), 'kernel': os.uname().release, 'load': os.getloadavg()}) + '\n')
    jf.flush()
    deadline = time.time() + a.budget * 60 if a.budget else None
    for ds in a.datasets.split(','):
        b = ds_base(ds)
        undo_all(ds)
        root = os.path.join(DATA, b)
        for rep in range(a.rep0, a.rep0 + a.reps):
            if deadline and time.time() > deadline:
                print('budget used up: stop before %s rep %d' % (ds, rep), flush=True)
                return
            order = names[rep % len(names):] + names[:rep % len(names)]
            dead = set()
            base = os.path.join(WORK, ds)
            shutil.rmtree(base, ignore_errors=True)
            last = {}
            for step in STEPS[b]:
                if a.steps and step not in a.steps.split(',') and step != 'initial':
                    continue
                info = prepare_step(ds, step, m)
                for n in order:
                    t = tools[n]
                    if n in dead or ds in t.get('skip', []) or '%s:%s' % (ds, step) in t.get('skip', []) or step in t.get('skip', []):
                        continue
                    d = os.path.join(base, n)
                    repo, cache, dst = os.path.join(d, 'repo'), os.path.join(d, 'cache'), os.path.join(d, 'restore')
                    v = {'peers': PEERS, 'bin': binary(t), 'src': root, 'repo': repo, 'cache': cache, 'dst': dst, 'tag': step,
                         'file': os.path.join(root, 'db.img') if b == 'img' else '', 'last': last.get(n, ''), 'dev': os.environ.get('BENCH_DEV', ''),
                         'extents': extents_path() if b == 'img' else ''}
                    env = {k: x.format(**v) for k, x in t.get('env', {}).items()}
                    env.setdefault('HOME', cache)
                    log = os.path.join(OUT, 'logs', '%s-%s-%s.log' % (a.name, ds, n))
                    os.makedirs(os.path.dirname(log), exist_ok=True)
                    if step == 'initial':
                        os.makedirs(repo)
                        os.makedirs(cache)
                        if get(t, 'init', ds):
                            r = run_cmd(get(t, 'init', ds).format(**v), env, log)
                            if r['rc']:
                                print('  %s: init failed (see %s)' % (n, log), flush=True)
                                dead.add(n)
                                continue
                    kind = 'restore' if step == 'restore' else 'check' if step == 'check' else 'backup'
                    tpl = get(t, kind, ds, step)
                    if not tpl:
                        continue
                    if kind == 'restore':
                        shutil.rmtree(dst, ignore_errors=True)
                        os.makedirs(dst)
                    wq = wait_quiet(a.quiet_busy, a.quiet_wait) if a.quiet_wait else (0, None)
                    if a.drop_caches:
                        drop_caches()
                    s0 = du(repo)
                    r = run_cmd(tpl.format(**v), env, log, a.timeout)
                    s1 = du(repo)
                    rec = {'type': 'sample', 'tool': n, 'dataset': ds, 'step': step, 'rep': rep, 'cold': bool(a.drop_caches), **r, 'repo': s1[0], 'repo_alloc': s1[1], 'repo_files': s1[2],
                           'growth': s1[0] - s0[0], 'growth_alloc': s1[1] - s0[1], 'quiet_waited': round(wq[0], 1), 'quiet_busy': wq[1], 'mutation': info, 'load': os.getloadavg()[0]}
                    okrc = r['rc'] == 0 or r['rc'] in t.get('ok_rc', [])
                    if kind == 'backup' and okrc:
                        last[n] = step
                    if kind == 'restore' and t.get('noverify'):
                        rec['verify'] = {'ok': None, 'note': 'older state, not compared'}
                        shutil.rmtree(dst, ignore_errors=True)
                    elif kind == 'restore':
                        got = get(t, 'restored', ds) or '{dst}'
                        try:
                            rec['verify'] = compare(root, got.format(**v)) if okrc else {'ok': False, 'rc': r['rc']}
                        except OSError as x:
                            rec['verify'] = {'ok': False, 'error': str(x)}
                        shutil.rmtree(dst, ignore_errors=True)
                    if not okrc and kind == 'backup':
                        dead.add(n)
                    jf.write(json.dumps(rec) + '\n')
                    jf.flush()
                    print('%s %-14s r%d %-16s rc=%d wall=%7.2f cpu=%7.2f rss=%5dM read=%s repo=%6.1fM +%.1fM foreign=%.2f %s' % (
                        ds, step, rep, n, r['rc'], r['wall'], r['cpu'], r['rss'] >> 20, '%.0fM' % (r['read_bytes'] / MiB) if r['read_bytes'] is not None else '?', s1[0] / MiB, rec['growth'] / MiB,
                        r['foreign_cpu'], '' if 'verify' not in rec else 'verify=' + {True: 'OK', None: '-'}.get(rec['verify'].get('ok'), 'BAD') + ' ' + ','.join('%s:%s' % kv for kv in rec['verify'].items() if kv[1] and kv[0] not in ('ok', 'files', 'examples', 'note'))), flush=True)
            undo_all(ds)
            shutil.rmtree(base, ignore_errors=True)
    jf.close()
    if a.check_undo:
        for b in {ds_base(x) for x in a.datasets.split(',')}:
            d = tree_digest(os.path.join(DATA, b))[0]
            print('dataset %s back in its first state: %s' % (b, d == m[b]['sha256']))

# --------------------------------------------------------------------------- limits
def cmd_limits(a):
    img = os.path.join(DATA, 'img', 'db.img')
    fs = os.path.join(DATA, 'fs')
    w = os.path.join(WORK, 'limits')
    shutil.rmtree(w, ignore_errors=True)
    os.makedirs(w)
    mib = os.path.getsize(img) // MiB if os.path.exists(img) else 0
    T = []
    if mib:
        T += [('read img, dd bs=1M, cold page cache', 'dd if=%s of=/dev/null bs=1M status=none' % img, True, mib),
              ('read img, dd O_DIRECT bs=4M', 'dd if=%s of=/dev/null bs=4M iflag=direct status=none' % img, True, mib),
              ('read img, dd bs=1M, hot page cache', 'dd if=%s of=/dev/null bs=1M status=none' % img, False, mib),
              ('write zeros, dd bs=1M conv=fsync', 'dd if=/dev/zero of=%s/z bs=1M count=%d conv=fsync status=none; rm %s/z' % (w, mib, w), True, mib),
              ('write, dd O_DIRECT bs=4M', 'dd if=/dev/zero of=%s/z bs=4M count=%d oflag=direct conv=fsync status=none; rm %s/z' % (w, mib // 4, w), True, mib),
              ('cp img (cold) + sync', 'cp --sparse=never %s %s/c && sync %s/c && rm %s/c' % (img, w, w, w), True, mib),
              ('sha256sum img (hot)', 'cat %s >/dev/null; sha256sum %s' % (img, img), False, mib),
              ('zstd -1 -T1 img -> /dev/null (hot)', 'zstd -1 -T1 -c %s >/dev/null' % img, False, mib),
              ('zstd -1 -T2 img -> /dev/null (hot)', 'zstd -1 -T2 -c %s >/dev/null' % img, False, mib),
              ('zstd -3 -T2 img -> /dev/null (hot)', 'zstd -3 -T2 -c %s >/dev/null' % img, False, mib),
              ('zstd -1 -T2 img -> file (cold)', 'zstd -q -f -1 -T2 %s -o %s/z.zst' % (img, w), True, mib),
              ('zstd -d -> /dev/null (hot)', 'zstd -dc %s/z.zst >/dev/null' % w, False, mib),
              ('zstd -1 -T2 | openssl aes-256-ctr -> file (cold)', 'zstd -q -1 -T2 -c %s | openssl enc -aes-256-ctr -K %s -iv %s -out %s/e; rm %s/e' % (img, '11' * 32, '22' * 16, w, w), True, mib)]
    if os.path.isdir(fs):
        fm = meta().get('fs', {}).get('bytes', 0) // MiB
        T += [('find tree, stat all (cold)', 'find %s -printf "%%s\\n" >/dev/null' % fs, True, fm),
              ('find tree, stat all (hot)', 'find %s -printf "%%s\\n" >/dev/null' % fs, False, fm),
              ('tar tree -> pipe to /dev/null (cold)', 'tar -C %s -cf - . | cat >/dev/null' % fs, True, fm),
              ('tar tree -> pipe to /dev/null (hot)', 'tar -C %s -cf - . | cat >/dev/null' % fs, False, fm),
              ('tar tree | zstd -1 -T2 -> file (cold)', 'tar -C %s -cf - . | zstd -q -f -1 -T2 -o %s/t.zst; rm %s/t.zst' % (fs, w, w), True, fm),
              ('cp -a tree (cold)', 'cp -a %s %s/fs' % (fs, w), True, fm),
              ('rm -rf tree copy', 'rm -rf %s/fs' % w, False, fm)]
    res = []
    for name, cmd, cold, n in T:
        if a.only and not re.search(a.only, name):
            continue
        s = []
        for _ in range(a.reps if 'rm -rf' not in name else 1):
            if cold:
                drop_caches()
            if a.quiet_wait:
                wait_quiet(a.quiet_busy, a.quiet_wait)
            if 'cp -a' in name:
                shutil.rmtree(w + '/fs', ignore_errors=True)
            s.append(run_cmd(cmd, {}, os.path.join(w, 'log')))
        x = statistics.median(q['wall'] for q in s)
        c = statistics.median(q['cpu'] for q in s)
        res.append({'test': name, 'wall': x, 'cpu': c, 'MiB': n, 'MiB_s': round(n / x, 1), 'foreign': max(q['foreign_cpu'] for q in s), 'all': [q['wall'] for q in s], 'rc': [q['rc'] for q in s]})
        print('%-55s %8.2f s  cpu %7.2f  %8.1f MiB/s  foreign<=%.2f' % (name, x, c, n / x, res[-1]['foreign']), flush=True)
    for alg in ('aes-256-gcm', 'aes-256-ctr', 'chacha20-poly1305', 'sha256', 'blake2b512'):
        o = subprocess.run(['openssl', 'speed', '-seconds', '2', '-bytes', '1048576', '-evp', alg], capture_output=True, text=True).stdout.strip().split('\n')[-1]
        res.append({'test': 'openssl speed ' + alg, 'out': o})
        print(o, flush=True)
    shutil.rmtree(w, ignore_errors=True)
    os.makedirs(OUT, exist_ok=True)
    json.dump(res, open(os.path.join(OUT, a.name + '.json'), 'w'), indent=1)

# --------------------------------------------------------------------------- report
def cmd_report(a):
    runs, S = [], []
    for f in a.jsonl:
        for l in open(f):
            r = json.loads(l)
            (runs if r['type'] == 'run' else S).append(r)
    ds_meta, tl = {}, {}
    for r in runs:
        ds_meta.update(r['datasets'])
        tl.update(r['tools'])
    G = {}
    for s in S:
        G.setdefault((s['dataset'], s['step'], s['tool']), []).append(s)
    out = {'datasets': ds_meta, 'tools': tl, 'runs': [{k: r[k] for k in ('time', 'args', 'kernel', 'cpu')} for r in runs], 'medians': []}
    for (ds, st, tool), L in G.items():
        good = [s for s in L if s['rc'] == 0 or st == 'restore']
        quiet = [s for s in good if s['foreign_cpu'] <= a.max_foreign]
        use = quiet or good
        if not use:
            out['medians'].append({'dataset': ds, 'step': st, 'tool': tool, 'n': 0, 'failed': True})
            continue
        md = lambda k: statistics.median(s[k] for s in use if s.get(k) is not None) if any(s.get(k) is not None for s in use) else None
        w = [s['wall'] for s in use]
        out['medians'].append({'dataset': ds, 'step': st, 'tool': tool, 'n': len(use), 'n_all': len(L), 'noisy': not quiet, 'wall': md('wall'), 'wall_min': min(w), 'wall_max': max(w),
                               'cpu': md('cpu'), 'user': md('user'), 'sys': md('sys'), 'rss': md('rss'), 'anon': md('anon'), 'read_bytes': md('read_bytes'), 'rchar': md('rchar'), 'write_bytes': md('write_bytes'),
                               'sync_s': md('sync_s'), 'repo': md('repo'), 'growth': md('growth'), 'repo_files': md('repo_files'), 'foreign': max(s['foreign_cpu'] for s in use),
                               'verify': [s.get('verify') for s in use if 'verify' in s] or None})
    md = []
    for ds in dict.fromkeys(x['dataset'] for x in out['medians']):
        size = ds_meta[ds_base(ds)]['bytes'] / MiB
        md.append('\n### dataset `%s` (%.0f MiB, %d files, scale %s)\n' % (ds, size, ds_meta[ds_base(ds)]['files'], ds_meta[ds_base(ds)]['scale']))
        for st in STEPS[ds_base(ds)]:
            rows = [x for x in out['medians'] if x['dataset'] == ds and x['step'] == st and x['n']]
            if not rows:
                continue
            best = min([x[a.sort] for x in rows if not x['tool'].startswith('_')] or [min(x[a.sort] for x in rows)]) or .001
            yard = [x['cpu'] for x in out['medians'] if x['dataset'] == ds and x['tool'] == YARDSTICK and x['n'] and x['step'] == ('restore' if st == 'restore' else 'initial')]
            md.append('\n**%s**\n\n| tool | n | wall s (min..max) | x best (by %s) | MiB/s | CPU s | CPU / Z | RSS MiB | anon MiB | disk read MiB | repo growth MiB | repo MiB | sync s | other load |%s\n|---|---|---|---|---|---|---|---|---|---|---|---|---|---|%s' % (
                st, a.sort, ' restored |' if st == 'restore' else '', '---|' if st == 'restore' else ''))
            for x in sorted(rows, key=lambda x: x[a.sort]):
                f = lambda k: '%.0f' % (x[k] / MiB) if x.get(k) is not None else '-'
                v = ''
                if st == 'restore':
                    q = [z for z in x['verify'] or []]
                    diff = {}
                    for z in q:
                        for k, y in z.items():
                            if k not in ('ok', 'files', 'examples', 'note') and y:
                                diff[k] = y if k != 'unsparse_bytes' else '%dM' % (y >> 20)
                    v = ' %s %s |' % ('same bits' if q and all(z.get('ok') for z in q) else '-' if q and all(z.get('ok') is None for z in q) else 'DIFFERS', ' '.join('%s:%s' % kv for kv in diff.items()))
                md.append('| %s | %d%s | %.2f (%.2f..%.2f) | %.2f | %.0f | %.2f | %s | %s | %s | %s | %.1f | %s | %.1f | %.2f |%s' % (
                    x['tool'], x['n'], '*' if x['noisy'] else '', x['wall'], x['wall_min'], x['wall_max'], x[a.sort] / best, size / x['wall'], x['cpu'], '%.2f' % (x['cpu'] / yard[0]) if yard else '-', f('rss'), f('anon'), f('read_bytes'),
                    x['growth'] / MiB, f('repo'), x['sync_s'], x['foreign'], v))
    txt = '\n'.join(md) + '\n\n`*`: no sample of this row was quiet (other load above %.2f of a core). Tools named `_...` are baselines, not in "x best". Z is the CPU of `%s` at the initial step (at restores: of its restore).\n' % (a.max_foreign, YARDSTICK)
    open(a.out + '.md', 'w').write(txt)
    json.dump(out, open(a.out + '.json', 'w'), indent=1)
    print(txt)


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    sp = ap.add_subparsers(dest='cmd', required=True)
    p = sp.add_parser('gen'); p.set_defaults(fn=cmd_gen)
    p.add_argument('--scale', type=float, default=1.0); p.add_argument('--datasets', default='img,fs,big')
    p = sp.add_parser('run'); p.set_defaults(fn=cmd_run)
    p.add_argument('--datasets', default='img,fs,big'); p.add_argument('--tools', required=True); p.add_argument('--reps', type=int, default=3); p.add_argument('--rep0', type=int, default=0)
    p.add_argument('--steps', default=''); p.add_argument('--plugin', action='append'); p.add_argument('--drop-caches', action='store_true'); p.add_argument('--name', default='run')
    p.add_argument('--quiet-busy', type=float, default=.25); p.add_argument('--quiet-wait', type=float, default=0); p.add_argument('--timeout', type=float, default=3600)
    p.add_argument('--budget', type=float, default=0, help='minutes; no new repetition starts after it'); p.add_argument('--check-undo', action='store_true')
    p = sp.add_parser('limits'); p.set_defaults(fn=cmd_limits)
    p.add_argument('--reps', type=int, default=3); p.add_argument('--name', default='limits'); p.add_argument('--only', default=''); p.add_argument('--quiet-busy', type=float, default=.25); p.add_argument('--quiet-wait', type=float, default=0)
    p = sp.add_parser('report'); p.set_defaults(fn=cmd_report)
    p.add_argument('--jsonl', nargs='+', required=True); p.add_argument('--out', default=os.path.join(OUT, 'report')); p.add_argument('--max-foreign', type=float, default=.3); p.add_argument('--sort', default='wall', help='wall or cpu (cpu when the machine was busy)')
    p = sp.add_parser('compare'); p.add_argument('src'); p.add_argument('dst'); p.set_defaults(fn=lambda a: print(json.dumps(compare(a.src, a.dst), indent=1)))
    a = ap.parse_args()
    a.fn(a)


if __name__ == '__main__':
    main()
