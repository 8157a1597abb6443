# shellcheck shell=dash
# A host with as little memory and disk as works.
# shellcheck source=Boxer.Tests/Linux/vm/lib.sh
. /lib.sh

total=$(sed -n 's/^MemTotal: *\([0-9]*\) kB/\1/p' /proc/meminfo)
echo "# $((total >> 10)) MiB of memory"
start_registry

launch '"max_memory_mb": 4096, "defaults": {"memory_mb": 2048}'
refuses "more memory than the machine has is rejected with the name of the setting" "max_memory_mb: is 4096, but this machine has $((total >> 10)) MiB"
launch '"defaults": {"memory_mb": 2048}'
refuses "a larger default memory limit is rejected too" "defaults.memory_mb: is 2048, but this machine has $((total >> 10)) MiB"

# Lists the files of the store, to check that a failed pull leaves none.
files() { find $home -type f ! -name '*.lock' ! -path '*/tmp/*' | sort; }

home=/disk/boxer
mkdir /disk
mount -t tmpfs -o size=1536k tmpfs /disk
start_host '"image_min_free_bytes": 0, "output_limit_bytes": 65536'
empty=$(files)
before=$(df -k /disk | awk 'NR == 2 { print $3 }')

run '"cmd": ["echo", "42"], "limits": {"memory_mb": 2048}'
expect "a limit beyond the machine's memory is rejected with the name of the field" 'HTTP/1.1 400' 'limits.memory_mb: must be at most '

run '"cmd": ["echo", "42"]'
expect "a pull that fills the disk reports the error" 'HTTP/1.1 502' 'could not be' 'No space left on device'
fault=
[ "$(files)" = "$empty" ] || fault=$(files)
result "no file of it is kept" "$fault"
after=$(df -k /disk | awk 'NR == 2 { print $3 }')
fault=
[ "$after" -le $((before + 64)) ] || fault="$after KiB are used, where $before were: $(find /disk)"
result "its disk space is free again" "$fault"

mount -o remount,size=16m /disk
run '"cmd": ["echo", "42"]'
expect "with more disk space the next run works" 'HTTP/1.1 200' '"stdout":"42\n"'

run '"cmd": ["sh", "-c", "dd if=/dev/zero of=/tmp/fill bs=1M"], "limits": {"disk_mb": 8, "wall_clock_secs": 120}'
expect "a run that fills its /tmp ends with the disk limit" '"termination":"disk_limit"'
run '"cmd": ["yes"], "limits": {"wall_clock_secs": 120}'
expect "a run that prints endlessly ends with the output limit" 'HTTP/1.1 507' 'output limit'
run '"cmd": ["sh", "-c", "dd if=/dev/zero of=/output/fill bs=1M count=24"], "limits": {"wall_clock_secs": 120}, "persist": true'
expect "outputs that do not fit on the disk are reported" 'HTTP/1.1 200' '"exit_code":0' '"outputs":[]' '"outputs_incomplete":"This host could not write them all."'
result "no file of them is kept" "$(find $home/files -name fill)"
run '"cmd": ["echo", "42"]'
expect "the next command runs" 'HTTP/1.1 200' '"stdout":"42\n"'

# Eight concurrent runs, each of which allocates four times its memory limit.
for balloon in 1 2 3 4 5 6 7 8; do
    begin $balloon '"cmd": ["dd", "if=/dev/zero", "of=/dev/null", "bs=400M", "count=1"], "limits": {"memory_mb": 96, "wall_clock_secs": 120}'
done
for balloon in 1 2 3 4 5 6 7 8; do
    end $balloon
    case $answer in
        *'"termination":"memory_limit"'* | *"HTTP/1.1 429"*) result "memory balloon $balloon of eight is stopped or rejected" ;;
        *) result "memory balloon $balloon of eight is stopped or rejected" "$answer" ;;
    esac
done
fault=
! is_gone || fault="the host is gone: $(tail -n 20 $log; dmesg | tail -n 20)"
result "the host still runs" "$fault"
run '"cmd": ["echo", "42"]'
expect "the next command runs" 'HTTP/1.1 200' '"stdout":"42\n"'

stop_host
umount /disk
home=/disk
nothing_left
stop_registry
finish
