import tempfile
from pathlib import Path

from vectors.make import FILES
from vectors.notation import FOLDER, text_of

with tempfile.TemporaryDirectory() as folder:
    for file, content in FILES.items():
        (FOLDER / file).write_text(text_of(content(Path(folder))) + "\n", encoding="ascii", newline="\n")
