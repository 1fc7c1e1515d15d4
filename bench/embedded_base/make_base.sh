#!/usr/bin/env bash
# Pretrain the embedded base and write the folder that ships; on one GPU about ten minutes.
#
#   bench/embedded_base/make_base.sh CORPUS WORK [key=value ...]
#
# CORPUS is the folder that corpus.py wrote. WORK gets the unpacked corpus, the run and, at the end, base/ and base.tar.gz.
# Cut short (Ctrl-C, SIGTERM, a crash), it goes on from the newest checkpoint when the same line is typed again.
set -euo pipefail

if [ $# -lt 2 ]; then
    sed -n '2,7s/^# \{0,1\}//p' "$0" >&2
    exit 2
fi
corpus=$(realpath "$1")
mkdir -p "$2"
work=$(realpath "$2")
shift 2
cd "$(dirname "$0")/../.."
python=${PYTHON:-python3}

for split in train validation; do
    rows="$work/$split.jsonl"
    if [ ! -f "$rows" ]; then
        "$python" -c 'import lzma, shutil, sys; shutil.copyfileobj(lzma.open(sys.argv[1]), open(sys.argv[2], "wb"))' \
            "$corpus/$split.jsonl.xz" "$rows.tmp"
        mv "$rows.tmp" "$rows"
    fi
done

"$python" -m luthier train pretrain --run "$work/run" \
    data.path="$work/train.jsonl" data.validation_path="$work/validation.jsonl" data.cache_path="$work/cache" "$@"
"$python" bench/embedded_base/ship.py --run "$work/run" --texts "$work/validation.jsonl" --out "$work/base"
# Renamed when whole: whoever waits for the file must not copy half of it.
tar -C "$work" -czf "$work/base.tar.gz.tmp" base
mv "$work/base.tar.gz.tmp" "$work/base.tar.gz"
ls -l "$work/base.tar.gz"
