"""Turn released weights into our checkpoint:  python src/convert.py from=ccnet input=FILE output=FILE"""

from contextseg.cli import command


@command("convert")
def convert(cfg):
    from contextseg.convert.command import convert as work

    work(cfg)


if __name__ == "__main__":
    convert()
