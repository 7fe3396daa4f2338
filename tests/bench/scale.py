#!/usr/bin/env python3
"""What a change costs on a large volume, and what memory a large volume takes (standard library only, Linux).

  scale.py SLUICE [--only extents,memory] [--sizes 10G,100G,1T] [--memory 48,64,128] [--data 20G]

extents   one incremental with 1,000 changed extents given, on sparse images of growing size whose every part of the map
          is in use: CPU, bytes read, bytes and requests to the repository. The last may cost 2.5 x the first at most.
memory    an image of 1 TiB with 20 GiB written: first backup, full compare, verify and restore at each --memory.
          The peak of the process may be --memory and 32 MiB at most.

Everything is made in and removed from a folder below $BENCH_WORK (default ~/.cache/sluice-bench/work); `memory` needs
about 50 GiB there. Exit status 1 when a bound is exceeded.
"""
import argparse, glob, json, multiprocessing, os, random, re, shutil, subprocess, sys, time

HERE = os.path.dirname(os.path.abspath(__file__))
PEERS = os.environ.get('BENCH_PEERS', os.path.expanduser('~/.cache/sluice-bench'))
WORK = os.path.join(os.environ.get('BENCH_WORK', os.path.join(PEERS, 'work')), 'scale')
PLUGIN = json.load(open(os.path.join(HERE, 'sluice.json')))['sluice']
KiB, MiB, GiB, TiB = 1 << 10, 1 << 20, 1 << 30, 1 << 40

LEAF = 16 * MiB          # what one leaf of the map describes at 64 KiB chunks
EXTENTS = 1000
EXTENT = 8 * KiB         # a page of a database
RATIO_MAX = 2.5          # largest over smallest image, CPU
OVERHEAD_MAX = 32 * MiB  # peak over --memory
BLOCK = 4 * MiB


def size(text):
    number, unit = re.fullmatch(r'(\d+)([MGT]?)', text).groups()
    return int(number) * {'': 1, 'M': MiB, 'G': GiB, 'T': TiB}[unit]


def human(count):
    for unit, one in (('TiB', TiB), ('GiB', GiB), ('MiB', MiB), ('KiB', KiB)):
        if count >= one:
            return '%.4g %s' % (count / one, unit)
    return '%d B' % count


class Sluice:
    """The command, with a repository and a key of its own."""

    def __init__(self, program, name, **environment):
        self.home = os.path.join(WORK, name)
        self.repository = os.path.join(self.home, 'repo', 'r')
        shutil.rmtree(self.home, ignore_errors=True)
        os.makedirs(os.path.dirname(self.repository))
        os.makedirs(os.path.join(self.home, 'cache'))
        self.words = {'bin': program, 'repo': os.path.join(self.home, 'repo'), 'cache': os.path.join(self.home, 'cache')}
        self.environment = dict(os.environ, **{k: v.format(**self.words) for k, v in PLUGIN['env'].items()})
        self.environment.update(environment)
        self.run('init')

    def backup(self, image, *flags):
        return self.run('backup@img', *flags, file=image)

    def run(self, step, *flags, trace=None, **words):
        """Runs a step of the plug-in with more flags: CPU, peak, bytes read from disk."""
        command = PLUGIN[step].format(**self.words, **words).removeprefix('exec ').split() + list(flags)
        if trace:            # a file for each thread, so that no call is torn apart
            command = ['strace', '-ff', '-y', '-qq', '-e', 'trace=openat,openat2', '-o', trace] + command
        with open(os.path.join(self.home, 'log'), 'ab') as log:
            began = time.monotonic()
            child = subprocess.Popen(command, env=self.environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
            _, status, used = os.wait4(child.pid, 0)
            child.returncode = os.waitstatus_to_exitcode(status)
        if child.returncode:
            sys.exit('scale: %s: exit status %d; see %s' % (' '.join(command), child.returncode, log.name))
        return {'cpu': used.ru_utime + used.ru_stime, 'wall': time.monotonic() - began, 'peak': used.ru_maxrss * KiB,
                'read': used.ru_inblock * 512}

    def stored(self):
        """Objects and bytes in the repository."""
        sizes = [os.lstat(os.path.join(folder, name)).st_size for folder, _, names in os.walk(self.repository) for name in names]
        return len(sizes), sum(sizes)


def sparse(path, length):
    with open(path, 'wb') as file:
        file.truncate(length)


def change(path, length, mark):
    """Writes EXTENTS pages at random; the list of what changed, sorted, as `offset length` lines."""
    draw = random.Random('%s:%d' % (mark, length))
    offsets = sorted(page * EXTENT for page in draw.sample(range(length // EXTENT), EXTENTS))
    with open(path, 'r+b') as file:
        for offset in offsets:
            file.seek(offset)
            file.write(draw.randbytes(EXTENT))
    with open(path + '.extents', 'w') as file:
        file.writelines('%d %d\n' % (offset, EXTENT) for offset in offsets)
    return path + '.extents'


def requests(trace, repository):
    """Objects asked for (also those that are not there), written and listed, from the files opened in the repository."""
    count = {'get': 0, 'put': 0, 'list': 0}
    for line in (line for name in glob.glob(trace + '.*') for line in open(name, errors='replace')):
        below = re.match(r'openat2?\(\d+<(.*?)>', line)
        if below and below[1].startswith(repository):
            if 'O_CREAT' in line:
                count['put'] += 1
            elif line.startswith('openat2('):     # plain `openat` only walks to where something is written
                count['list' if 'O_DIRECTORY' in line else 'get'] += 1
    return count


def extents(program, sizes):
    rows = []
    for length in sizes:
        sluice = Sluice(program, 'extents')
        image = os.path.join(sluice.home, 'image')
        sparse(image, length)
        with open(image, 'r+b') as file:
            for leaf in range(0, length, LEAF):
                file.seek(leaf)
                file.write(random.Random(leaf).randbytes(4 * KiB))
        first = sluice.backup(image, '--handle', 'h0')
        before = sluice.stored()
        samples = []
        for run in (1, 2, 3):
            listed = change(image, length, run)
            flags = ('--handle', 'h%d' % run, '--changed-extents', listed, '--base', 'h%d' % (run - 1))
            samples.append(sluice.backup(image, *flags))
        after = sluice.stored()
        median = sorted(samples, key=lambda sample: sample['cpu'])[1]
        row = {'image': human(length), 'first, CPU s': '%.2f' % first['cpu'], 'CPU s': '%.3f' % median['cpu'], 'wall s': '%.2f' % median['wall'],
               'read': human(median['read']), 'stored': human((after[1] - before[1]) // 3), 'objects': (after[0] - before[0]) // 3,
               'peak': human(median['peak']), 'cpu': median['cpu']}
        if shutil.which('strace'):
            trace = os.path.join(sluice.home, 'trace')
            listed = change(image, length, 4)
            sluice.run('backup@img', '--handle', 'h4', '--changed-extents', listed, '--base', 'h3', file=image, trace=trace)
            row.update(requests(trace, os.path.realpath(sluice.repository)))
        rows.append(row)
        shutil.rmtree(sluice.home)
    ratio = rows[-1]['cpu'] / rows[0]['cpu']
    table('%d extents of %s changed at random, given as a list' % (EXTENTS, human(EXTENT)), [{k: v for k, v in row.items() if k != 'cpu'} for row in rows])
    return verdict('CPU %s / %s' % (rows[-1]['image'], rows[0]['image']), ratio, RATIO_MAX, '%.2f x')


def compressible(path, length, data):
    """Spreads `data` bytes over the image in blocks that compress about 5 : 1 and are all different."""
    draw = random.Random('block')
    words = [draw.randbytes(6).hex().encode() for _ in range(512)]
    base = b' '.join(draw.choices(words, k=BLOCK // 13 + 1))[:BLOCK]
    count = data // BLOCK
    with open(path, 'r+b') as file:
        for number in range(count):
            turn = number * 4099 % BLOCK
            block = bytearray(base[turn:] + base[:turn])
            for at in range(0, BLOCK, 16 * KiB):
                block[at:at + 16] = b'%016x' % (number * BLOCK + at)
            file.seek(length // count * number // BLOCK * BLOCK)
            file.write(block)


def memory(program, length, data, settings):
    rows, fine = [], True
    os.makedirs(WORK, exist_ok=True)
    image = os.path.join(WORK, 'image')
    sparse(image, length)
    # In a process of its own: a child's peak begins with its parent's.
    maker = multiprocessing.Process(target=compressible, args=(image, length, data))
    maker.start()
    maker.join()
    for setting in settings:
        sluice = Sluice(program, 'memory')
        flag = ('--memory', '%dM' % setting)
        steps = {'first backup': lambda: sluice.backup(image, *flag), 'full compare': lambda: sluice.backup(image, *flag),
                 'verify': lambda: sluice.run('check', *flag), 'restore': lambda: sluice.run('restore@img', *flag, dst=sluice.home)}
        for name, step in steps.items():
            used = step()
            rows.append({'--memory': '%d MiB' % setting, 'step': name, 'peak': human(used['peak']), 'CPU s': '%.1f' % used['cpu'], 'wall s': '%.1f' % used['wall'], 'read': human(used['read'])})
            fine &= used['peak'] <= setting * MiB + OVERHEAD_MAX
        rows[-4]['stored'] = human(sluice.stored()[1])
        shutil.rmtree(sluice.home)
    os.unlink(image)
    table('%s, %s of it written' % (human(length), human(data)), rows)
    print('peak <= --memory + %s: %s\n' % (human(OVERHEAD_MAX), 'yes' if fine else 'NO'))
    return fine


def verdict(what, value, bound, form):
    print('%s: %s, at most %s: %s\n' % (what, form % value, form % bound, 'yes' if value <= bound else 'NO'))
    return value <= bound


def table(title, rows):
    names = list(dict.fromkeys(name for row in rows for name in row))
    print('\n**%s**\n\n| %s |\n|%s' % (title, ' | '.join(names), '---|' * len(names)))
    for row in rows:
        print('| %s |' % ' | '.join(str(row.get(name, '')) for name in names))
    print(flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('sluice')
    parser.add_argument('--only', default='extents,memory')
    parser.add_argument('--sizes', default='10G,100G,1T')
    parser.add_argument('--memory', default='48,64,128')
    parser.add_argument('--image', default='1T')
    parser.add_argument('--data', default='20G')
    chosen = parser.parse_args()
    program, fine = os.path.abspath(chosen.sluice), True
    if 'extents' in chosen.only.split(','):
        fine &= extents(program, [size(text) for text in chosen.sizes.split(',')])
    if 'memory' in chosen.only.split(','):
        fine &= memory(program, size(chosen.image), size(chosen.data), [int(text) for text in chosen.memory.split(',')])
    sys.exit(not fine)


if __name__ == '__main__':
    main()
