"""Draw a sheet of samples:  python src/samples.py data=context_scenes output=samples.png   (--help lists the groups)"""

from contextseg.cli import command


@command("samples")
def samples(cfg):
    from contextseg.samples import samples as work

    work(cfg)


if __name__ == "__main__":
    samples()
