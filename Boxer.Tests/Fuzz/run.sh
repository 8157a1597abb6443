#!/usr/bin/env bash
# Fuzzes the layer extractor with coverage feedback (AFL++ and SharpFuzz):
#
#   Boxer.Tests/Fuzz/run.sh SECONDS [KEPT]        as root; KEPT is a new folder for AFL's findings
#
# Prints each crashing input in base64 with its error, and finally one line of figures. To run such an input again:
#
#   base64 -d >FILE; dotnet Boxer.Tests/Fuzz/bin/Release/net10.0/Boxer.Fuzz.dll --replay NEW_DIRECTORY FILE
#
# Fails if an input crashes, or if too few inputs ran for a result.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
kept=${2:+$(realpath -m "$2")}
cd "$here/../.."

# shellcheck source=scripts/install.sh
. scripts/install.sh

least_inputs=200
least_edges=500

[[ $# -le 2 && ${1:-} =~ ^[1-9][0-9]*$ ]] || die "usage: $0 SECONDS [KEPT]"
[[ -z $kept || ! -e $kept ]] || die "$kept exists already."
seconds=$1
require_root
ensure_dotnet
ensure_afl_fuzz
install_packages tar gzip zstd
quietly dotnet build Boxer.Tests/Fuzz -c Release --nologo -v quiet -clp:NoSummary

# Uses memory, because each input creates a tree of files.
work=$(mktemp -d /dev/shm/boxer-fuzz.XXXXXX)
program=$(mktemp -d)
trap 'rm -rf --one-file-system "$work" "$program"' EXIT
built=Boxer.Tests/Fuzz/bin/Release/net10.0
cp -r "$built/." "$program"
quietly dotnet "$built/Boxer.Fuzz.dll" --instrument "$program/Boxer.Core.dll"
seeds=$work/seeds
mkdir "$seeds"

# lines NAME FLAGS TEXT: a seed that LineArchive reads.
lines() { printf '%s%b' "$2" "$3" >"$seeds/$1"; }

# archive NAME FLAGS BLOCKS: a seed of the archives on standard input. BLOCKS is the number of blocks of the first layer, as an escape of printf.
archive() {
    printf "%s$3" "$2" >"$seeds/$1"
    cat >>"$seeds/$1"
}

# Links to a target inside the root, and to one outside that a wrong extractor would follow.
outside=$work/layers/outside
# The letters are the options of LayerInputFlags.
for flags in '`' a b c p k; do
    lines "tree-$flags" "$flags" '5d\n0d/f||content|4755|1|2\n2l|d\n1h|d/f\n0l/g||x\n0deep/below/f||x\n3null\n'
    lines "whiteouts-$flags" "$flags" '0a||1\n0d/a||1\n0d/b/c||1\n0e||1\n\n0.wh.a\n5d\n0d/.wh..wh..opq\n0d/n||2\n0.wh.e\n0e/f||2\n0.wh..wh.plnk/x\n'
    lines "replaced-$flags" "$flags" '0a||1\n5a\n0a/b||1\n2a|b\n0b/c||2\n5b\n1c|b/c\n2d|../outside\n5d||||1777\n0d/f||3\n'
    lines "links-$flags" "$flags" '5outside\n2a|../outside\n0a/f||1\n1a/g|a/f\n2a/h|f\n5a/d\n0a/d/n||2\n0a/.wh.directory\n0a/.wh..wh..opq\n\n0a/i||3\n0a/.wh.f\n'
    lines "absolute-$flags" "$flags" "5$outside\\n2b|$outside\\n0b/f||1\\n1g|b/f\\n5b/directory\\n0b/.wh.file\\n\\n0b/i||3\\n0b/.wh.f\\n0b/.wh..wh..opq\\n"
    lines "records-$flags" "$flags" 'xpath=p/q|mtime=-1.5|uid=7|gid=8|SCHILY.xattr.user.a=b|SCHILY.xattr.user.overlay.opaque=y|SCHILY.xattr.trusted.overlay.opaque=y\n0a||1\nxlinkpath=p/q\n2b|c\nL||long\nK||p/q\n1c|d\ngx\nVx\nxsize=1\n0s||12345\n'
    lines "sparse-$flags" "$flags" 'xGNU.sparse.size=9|GNU.sparse.map=0,1,5,1\n0a||12\nxGNU.sparse.size=9|GNU.sparse.offset=2|GNU.sparse.numbytes=2|GNU.sparse.name=n\n0b||12\n'
done

tree=$work/tree
mkdir -p "$tree/d"
printf 'content' >"$tree/d/f"
ln -s d/f "$tree/l"
ln "$tree/d/f" "$tree/h"
chmod 6755 "$tree/d/f"
for format in v7 oldgnu gnu ustar posix; do
    tar --format="$format" -b 1 -C "$tree" -c . | archive "tar-$format" B '\0'
done
: >"$tree/$(printf '%0120d' 0)"
ln -s "$(printf '%0120d' 1)" "$tree/long"
for format in gnu posix; do
    tar --format="$format" -b 1 -C "$tree" -c . | archive "tar-long-$format" C '\0'
done
for part in {0..5}; do
    printf 'part' | dd of="$tree/holes" bs=4 seek="$((part * 4096))" status=none
done
tar --format=gnu --sparse -b 1 -C "$tree" -c holes | archive sparse-gnu B '\0'
for version in 0.0 0.1 1.0; do
    tar --format=posix --sparse --sparse-version="$version" -b 1 -C "$tree" -c holes | archive "sparse-$version" J '\0'
done
for flags in B F R; do
    tar --format=gnu -b 1 -C "$tree" -c d h l | gzip | archive "gzip-$flags" "$flags" '\0'
    tar --format=gnu -b 1 -C "$tree" -c d h l | zstd | archive "zstd-$flags" "$flags" '\0'
    tar --format=gnu -b 1 -C "$tree" -c d h l | archive "tar-$flags" "$flags" '\0'
done
touch "$tree/d/.wh..wh..opq" "$tree/.wh.l"
{
    tar --format=gnu -b 1 -C "$tree" -c d/f l
    tar --format=gnu -b 1 -C "$tree" -c d/.wh..wh..opq .wh.l
} | archive layers B '\x06'

# Runs the seeds without AFL first, because AFL only reports that one of them crashed.
dotnet "$built/Boxer.Fuzz.dll" --replay "$work/layers" "$seeds"/* >/dev/null || die "a seed crashes; its error is above."

{
    cat "$here/tar.dict"
    printf 'absolute="%s"\n' "$outside/file"
} >"$work/dict"

export AFL_SKIP_BIN_CHECK=1 AFL_SKIP_CPUFREQ=1 AFL_I_DONT_CARE_ABOUT_MISSING_CRASHES=1 AFL_NO_UI=1 AFL_NO_AFFINITY=1 AFL_FAST_CAL=1
export AFL_FORKSRV_INIT_TMOUT=60000 AFL_TMPDIR=$work
# Each layer allocates two buffers: a larger first generation makes collections rarer.
export DOTNET_GCgen0size=0x4000000 DOTNET_EnableDiagnostics=0
quietly timeout --foreground --kill-after=10 "$((seconds + 300))" \
    afl-fuzz -V "$seconds" -m none -t 5000 -i "$seeds" -o "$work/out" -x "$work/dict" -- dotnet "$program/Boxer.Fuzz.dll" --afl "$work/layers" ||
    die "afl-fuzz failed; its last output is above."

[[ -z $kept ]] || cp -r "$work/out/default" "$kept"

stats=$work/out/default/fuzzer_stats
figure() { sed -n "s/^$1 *: //p" "$stats"; }
crashes=0
for crash in "$work"/out/default/crashes/id*; do
    [[ -f $crash ]] || continue
    crashes=$((crashes + 1))
    say "This input crashes:"
    base64 -w 0 "$crash"
    printf '\n'
    dotnet "$built/Boxer.Fuzz.dll" --replay "$work/layers" "$crash" 2>&1 || true
done
say "$(figure execs_done) inputs, $(figure execs_per_sec) per second; $(figure corpus_count) paths, $(figure edges_found) edges; $crashes crashes, $(figure saved_hangs) hangs"
[[ $crashes -eq 0 ]] || die "$crashes inputs crash; they are printed above."
[[ $(figure execs_done) -ge $least_inputs ]] || die "fewer than $least_inputs inputs ran."
[[ $(figure edges_found) -ge $least_edges ]] || die "fewer than $least_edges edges were found: the assembly is not instrumented, or the seeds are rejected."
