#!/usr/bin/env python3
"""What S3 costs: the same jobs into a folder and over loopback to an S3 server, which is a process of its own.

  s3.py SLUICE S3-SERVER IMAGE [REPETITIONS]

Interleaved, with fresh repositories each time; CPU of Sluice alone, medians. A first backup over S3 may cost 1.3 x the one
into a folder; exit status 1 when it costs more.
"""
import os
import shutil
import statistics
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.append(os.path.join(HERE, '..', 'demo'))
from demo import S3Server
from scale import Sluice, human, table, verdict

RATIO_MAX = 1.3


def measure(sluice, image):
    """CPU seconds and peak of each job."""
    steps = {'first backup': lambda: sluice.backup(image), 'unchanged': lambda: sluice.backup(image),
             'verify, all data': lambda: sluice.run('check'), 'restore': lambda: sluice.run('restore@img', dst=sluice.home)}
    used = {name: step() for name, step in steps.items()}
    shutil.rmtree(sluice.home)
    return used


def main():
    program, server, image = (os.path.abspath(path) for path in sys.argv[1:4])
    repetitions = int(sys.argv[4]) if len(sys.argv) > 4 else 3
    samples = {'folder': [], 'S3': []}
    for number in range(repetitions):
        samples['folder'].append(measure(Sluice(program, 'folder'), image))
        with S3Server(server) as s3:   # a fresh one each time: it keeps everything in memory
            samples['S3'].append(measure(Sluice(program, 's3', SLUICE_REPOSITORY=s3.address, **s3.environment), image))
    rows, ratios = [], {}
    for step in samples['S3'][0]:
        cpu = {place: statistics.median(sample[step]['cpu'] for sample in taken) for place, taken in samples.items()}
        peak = max(sample[step]['peak'] for sample in samples['S3'])
        ratios[step] = cpu['S3'] / cpu['folder']
        rows.append({'job': step, 'folder, CPU s': '%.2f' % cpu['folder'], 'S3, CPU s': '%.2f' % cpu['S3'],
                     'S3 / folder': '%.2f' % ratios[step], 'peak with S3': human(peak)})
    table('The same jobs on a folder and on S3 over loopback, %d repetitions' % repetitions, rows)
    sys.exit(not verdict('first backup, S3 / folder', ratios['first backup'], RATIO_MAX, '%.2f x'))


if __name__ == '__main__':
    main()
