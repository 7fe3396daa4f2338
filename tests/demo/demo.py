#!/usr/bin/env python3
"""What Sluice does, on a volume of 1 GiB: demo.py SLUICE S3-SERVER (`make demo`).

Makes an ext4 image with real files, backs it up to a folder and to an S3 server that it starts, changes 1 % at random and
backs up the changed extents, interrupts a backup with kill -9 and resumes it, verifies, restores every point and compares
bit by bit. Prints one table. Python's standard library only; nothing needs root, nothing stays.
"""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

GIB = 1 << 30
IMAGE_BYTES = GIB
PAGE = 8192
SEED = 20260101


def main():
    sluice, s3_server = (os.path.abspath(program) for program in sys.argv[1:3])
    with tempfile.TemporaryDirectory(prefix='sluice-demo-', dir=os.environ.get('DEMO_DIR')) as folder:
        demo = Demo(Path(folder), sluice)
        say(f'make an ext4 image of {size(IMAGE_BYTES)} with real files')
        demo.make_image()
        with S3Server(s3_server) as server:
            demo.run(server)
    print('\nevery point of both repositories was restored and is identical, bit by bit')


class Demo:
    def __init__(self, folder, sluice):
        self.folder = folder
        self.sluice = sluice
        self.image = folder / 'volume.img'
        self.random = random.Random(SEED)
        self.states = []
        self.rows = []

    def run(self, server):
        folder = self.folder / 'repository'
        places = [Place(self, 'folder', str(folder), {}, lambda: tree_bytes(folder)),
                  Place(self, 's3', server.address, server.environment, server.held)]
        self.keep_state()
        for place in places:
            place.call('init', '--new-key', place.key)
            place.backup('first backup', '--handle', 'snapshot-0')

        say('change 1 % of the pages at random')
        extents = self.change(IMAGE_BYTES // 100)
        self.keep_state()
        for place in places:
            place.backup('1 % changed, extents given', '--handle', 'snapshot-1', '--changed-extents', extents,
                         '--base', 'snapshot-0')

        say('change 20 % more, and kill the backup of it')
        self.change(IMAGE_BYTES // 5)
        self.keep_state()
        for place in places:
            place.interrupted('20 % changed, compared: killed')
            done = place.backup('the same again: resumed')
            if done['adopted_bytes'] == 0:
                fail('the resumed backup took nothing over from the one that was killed')

        for place in places:
            place.measured('verify, all data read', 'verify', '--read-data', '100%')
        for place in places:
            place.restore_all()
        table(self.rows)

    def make_image(self):
        tree = self.folder / 'tree'
        tree.mkdir()
        fill(tree, IMAGE_BYTES // 2, self.random)
        (self.folder / 'tree' / 'log.txt').write_text(''.join(
            f'{number} request {self.random.randrange(1 << 40):x} took {self.random.randrange(999)} ms\n'
            for number in range(2_000_000)))
        (tree / 'random.bin').write_bytes(self.random.randbytes(128 << 20))
        with open(self.image, 'wb') as image:
            image.truncate(IMAGE_BYTES)
        mkfs = shutil.which('mkfs.ext4') or '/sbin/mkfs.ext4'
        subprocess.run([mkfs, '-q', '-F', '-d', str(tree), str(self.image)], check=True, stdout=subprocess.DEVNULL)
        shutil.rmtree(tree)

    def keep_state(self):
        """A copy of the image as it is now: what a point of it must restore to."""
        state = self.folder / f'state-{len(self.states)}.img'
        subprocess.run(['cp', '--sparse=always', '--reflink=auto', str(self.image), str(state)], check=True)
        self.states.append(state)

    def change(self, changed_bytes):
        """Overwrites random pages; returns a list of them, as a storage system that tracks changes would give it."""
        pages = sorted(self.random.sample(range(IMAGE_BYTES // PAGE), changed_bytes // PAGE))
        with open(self.image, 'r+b') as image:
            for page in pages:
                image.seek(page * PAGE)
                image.write(self.random.randbytes(PAGE // 2) + bytes(f'{page:08}', 'ascii') * (PAGE // 16))
        extents = self.folder / f'changed-{len(self.states)}.txt'
        extents.write_text(''.join(f'{page * PAGE} {PAGE}\n' for page in pages))
        return str(extents)


class Place:
    """A repository, and every call of the command that works on it."""

    def __init__(self, demo, name, address, environment, held):
        """`held` tells how many bytes have arrived so far."""
        self.demo = demo
        self.name = name
        self.held = held
        self.key = str(demo.folder / f'{name}.key')
        self.environment = dict(os.environ, SLUICE_REPOSITORY=address, SLUICE_KEY_FILE=self.key, **environment)

    def call(self, *arguments):
        environment = self.environment
        if arguments[0] == 'init':
            environment = {name: value for name, value in environment.items() if name != 'SLUICE_KEY_FILE'}
        done = subprocess.run([self.demo.sluice, '--quiet', *arguments], env=environment, stdout=subprocess.PIPE)
        if done.returncode != 0:
            fail(f'`sluice {" ".join(arguments)}` ended with {done.returncode}')
        return done.stdout

    def measured(self, what, *arguments):
        """Runs a command and adds a row of the table; returns what it reported as JSON."""
        began = time.monotonic()
        child = subprocess.Popen([self.demo.sluice, '--quiet', '--json', *arguments], env=self.environment,
                                 stdout=subprocess.PIPE)
        memory, pid = 0, 0
        while pid == 0:
            # Not what the kernel says at the end: that includes this script, from before the program was started.
            memory = max(memory, peak(child.pid))
            time.sleep(0.01)
            pid, status, usage = os.wait4(child.pid, os.WNOHANG)
        report = child.stdout.read()
        child.returncode = os.waitstatus_to_exitcode(status)
        if child.returncode != 0:
            fail(f'`sluice {" ".join(arguments)}` ended with {child.returncode}: {report.decode()}')
        report = json.loads(report)
        seconds = time.monotonic() - began
        self.demo.rows.append((self.name, what, report.get('read_bytes') or report.get('fetched_bytes') or 0,
                               report.get('uploaded_bytes', 0), self.stored(), seconds,
                               report.get('volume_bytes') or report.get('read_bytes') or 0,
                               usage.ru_utime + usage.ru_stime, memory))
        return report

    def stored(self):
        stats = json.loads(self.call('stats', '--json'))
        return sum(series['stored_bytes'] for series in stats['series'])

    def backup(self, what, *arguments):
        say(f'{self.name}: {what}')
        return self.measured(what, 'backup', '--series', 'demo', *arguments, str(self.demo.image))

    def interrupted(self, what):
        """Starts a slow backup, kills it once some packs have arrived, and nothing else."""
        say(f'{self.name}: {what}')
        before = self.points()
        child = subprocess.Popen([self.demo.sluice, '--quiet', 'backup', '--series', 'demo', '--limit-upload', '48MiB',
                                  str(self.demo.image)], env=self.environment)
        held = self.held()
        while self.held() - held < 80 << 20:
            if child.poll() is not None:
                fail('the backup ended before it could be killed')
            time.sleep(0.05)
        child.send_signal(signal.SIGKILL)
        child.wait()
        if self.points() != before:
            fail('a killed backup left something that is listed')

    def points(self):
        return json.loads(self.call('points', '--json'))

    def restore_all(self):
        for number, point in enumerate(self.points()):
            target = self.demo.folder / f'{self.name}-{number}.img'
            self.measured(f'restore point {number + 1}', 'restore', point['id'], str(target))
            same = subprocess.run(['cmp', str(target), str(self.demo.states[number])])
            if same.returncode != 0:
                fail(f'{target.name} differs from the volume as it was')
            target.unlink()
            say(f'{self.name}: point {number + 1} restored: identical')


class S3Server:
    """The S3 server, in memory, on a port of its own."""

    def __init__(self, program):
        self.program = program

    def __enter__(self):
        self.child = subprocess.Popen([self.program, '--listen', '127.0.0.1:0'], stdout=subprocess.PIPE, text=True)
        told = dict(self.child.stdout.readline().split(maxsplit=1) for _ in range(4))
        self.address = f's3://{told["bucket"].strip()}/demo?endpoint={told["endpoint"].strip()}'
        self.environment = {'AWS_ACCESS_KEY_ID': told['access-key-id'].strip(),
                            'AWS_SECRET_ACCESS_KEY': told['secret-access-key'].strip(), 'AWS_REGION': 'us-east-1'}
        return self

    def held(self):
        """About how many bytes it holds, all of them in memory."""
        return field(f'/proc/{self.child.pid}/status', 'VmRSS') << 10

    def __exit__(self, *_):
        self.child.kill()
        self.child.wait()


def fill(tree, wanted, source):
    """Copies files of this machine until there is enough."""
    copied = 0
    for root in ['/usr/lib', '/usr/share', '/usr/bin']:
        for folder, folders, names in os.walk(root):
            folders.sort()
            for name in sorted(names):
                path = Path(folder) / name
                if path.is_symlink() or not path.is_file() or not os.access(path, os.R_OK):
                    continue
                length = path.stat().st_size
                if length > 64 << 20:
                    continue
                if copied + length > wanted:
                    return
                target = tree / path.relative_to('/')
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, target)
                copied += length
    (tree / 'more.bin').write_bytes(source.randbytes(wanted - copied))


def tree_bytes(folder):
    """Bytes of all files in a folder that others write to."""
    total = 0
    for path, _, names in os.walk(folder):
        for name in names:
            try:
                total += os.lstat(os.path.join(path, name)).st_size
            except FileNotFoundError:
                pass
    return total


def peak(pid):
    """The most memory that a process has held so far, in bytes."""
    return field(f'/proc/{pid}/status', 'VmHWM') << 10


def field(path, name):
    try:
        lines = Path(path).read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith(name)), 0)


def table(rows):
    head = ('where', 'what', 'read', 'uploaded', 'stored', 'time', 'rate', 'CPU', 'memory')
    lines = [head]
    for where, what, read, uploaded, stored, seconds, volume, processor, memory in rows:
        lines.append((where, what, size(read), size(uploaded), size(stored), f'{seconds:.2f} s',
                      f'{size(volume / seconds)}/s', f'{processor:.2f} s', size(memory)))
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    print()
    for line in lines:
        print('  '.join(text.ljust(width) if column < 2 else text.rjust(width)
                        for column, (text, width) in enumerate(zip(line, widths))))


def size(count):
    for unit in ['B', 'KiB', 'MiB', 'GiB']:
        if count < 1024 or unit == 'GiB':
            return f'{count:.0f} {unit}' if unit == 'B' else f'{count:.1f} {unit}'
        count /= 1024


def say(what):
    print(f'- {what}', flush=True)


def fail(why):
    sys.exit(f'demo: {why}')


if __name__ == '__main__':
    main()
