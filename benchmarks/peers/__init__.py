"""requant beside its peers on the same vectors, each in processes of its own.

pip install '.[bench]'
python -m benchmarks.peers --data FOLDER [--out FILE.json] [NAME ...]

FOLDER holds the full WordNet files (benchmarks/rebuild_data.py makes them); without it the subset
in examples/ is measured. Each contender is built by one process and served by another one, so that
what stays resident is what serving takes. Within the serving process every setting takes turns with
FAISS's `IndexFlatIP`, so that its time is a ratio taken between neighbours in time. A contender
whose package is not installed is left out, by name.
"""
