#!/usr/bin/env bash
# Makes an output by an older commit, for tests/run/test_old_outputs.py: TREE is a checkout of that
# commit with its own environment, and the result is COMMIT.tar.gz beside this file.
#
#   git worktree add --detach TREE COMMIT && make -C TREE demo
#   tests/old_outputs/make.sh TREE
#
# Four nights of January 2023 (under faketime: an output that is old on any day a test may run):
# one that is whole; one stopped by a signal; one with more of the same list, whole; and one that is
# killed, so that the journal is not empty and SQLite's log is not taken in.
set -euo pipefail
tree=$(realpath "$1")
here=$(realpath "$(dirname "$0")")
commit=$(git -C "$tree" rev-parse --short=7 HEAD)
python=$tree/.venv/bin/python
# The path stands in the output: not one of the machine that it was made on.
home=/srv/old-output
mkdir "$home"
cd "$home"
export PYTHONPATH=$tree HARVESTER_API_KEY=bDqJFiq9 HARVESTER_API_SECRET=7bz1lzh9

library=$(faketime -f +0s printenv LD_PRELOAD)

at() { # DATE COMMAND…: become it, with its clock moved; a signal reaches it, not a wrapper
    exec env LD_PRELOAD="$library" FAKETIME="-$(($(date +%s) - $(date -d "$1" +%s)))s" "${@:2}"
}

vendor() { # DATE: a stand-in vendor on that day; its process and its address
    at "$1" "$python" -m harvester.simulator --port 18645 --seed 7 --rate-limit 0 --no-drift \
        --latency-ms 5 --fates dead_param=0.02,open_then_final=0.02,open_forever=0.02,no_record=0.02 \
        > vendor.txt &
    vendor=$!
    until grep -q "listening on" vendor.txt; do sleep 0.1; done
    url=$(sed -n 's/^listening on //p' vendor.txt)
}

night() { # DATE IDS WAIT SIGNAL [OPTION…]: one run, sent SIGNAL after WAIT s unless that is "-"
    vendor "$1"
    at "$1" "$python" -m harvester run "$2" --out out --base-url "$url" --concurrency 8 "${@:5}" &
    run=$!
    if [ "$4" != - ]; then
        sleep "$3"
        kill -s "$4" "$run"
    fi
    code=0
    wait "$run" || code=$?
    echo "$1 ended with $code"
    kill "$vendor" && wait "$vendor" || true
}

(at "2023-01-11 12:00" "$python" -m harvester simulate --ids 1000 all.txt --days 2 --seed 7)
{ head -n 300 all.txt; echo "no id at all!"; } > first.txt
night "2023-01-11 12:00" first.txt 0 - --rate 1000
night "2023-01-12 12:00" all.txt 4 TERM --rate 50
head -n 600 all.txt > second.txt
night "2023-01-13 12:00" second.txt 0 - --rate 1000 --only
night "2023-01-14 12:00" all.txt 4 KILL --rate 50
rm vendor.txt out/state/lock
cd /
tar -C "$home" --owner=0 --group=0 --numeric-owner --sort=name -cf - . | gzip -9n > "$here/$commit.tar.gz"
rm -r "$home"
ls -l "$here/$commit.tar.gz"
