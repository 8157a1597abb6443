# shellcheck shell=dash
# A host with as little memory and disk as works.
# shellcheck source=Boxer.Tests/Linux/vm/lib.sh
. /lib.sh

total=$(sed -n 's/^MemTotal: *\([0-9]*\) kB/\1/p' /proc/meminfo)
echo "# $((total >> 10)) MiB of memory"
start_registry

launch '"max_memory_mb": 4096, "defaults": {"memory_mb": 2048}'
refuses "more memory than the machine has is refused by the name of the setting" "max_memory_mb: is 4096, but this machine has $((total >> 10)) MiB"
launch '"defaults": {"memory_mb": 2048}'
refuses "so is a default of one run" "defaults.memory_mb: is 2048, but this machine has $((total >> 10)) MiB"

# What a run leaves in the store is no more than what the store had before.
files() { find $home -type f ! -name '*.lock' ! -path '*/tmp/*' | sort; }

home=/disk/boxer
mkdir /disk
mount -t tmpfs -o size=1536k tmpfs /disk
start_host '"image_min_free_bytes": 0, "output_limit_bytes": 65536'
empty=$(files)
before=$(df -k /disk | awk 'NR == 2 { print $3 }')

run '"cmd": ["echo", "42"], "limits": {"memory_mb": 2048}'
expect "a limit beyond the machine is refused by the name of the field" 'HTTP/1.1 400' 'limits.memory_mb: must be at most '

run '"cmd": ["echo", "42"]'
expect "an image that the disk has no room for is told so" 'HTTP/1.1 502' 'could not be' 'No space left on device'
fault=
[ "$(files)" = "$empty" ] || fault=$(files)
result "nothing of it is kept" "$fault"
after=$(df -k /disk | awk 'NR == 2 { print $3 }')
fault=
[ "$after" -le $((before + 64)) ] || fault="$after KiB are used, where $before were: $(find /disk)"
result "its room is free again" "$fault"

mount -o remount,size=16m /disk
run '"cmd": ["echo", "42"]'
expect "with more room the next run works" 'HTTP/1.1 200' '"stdout":"42\n"'

run '"cmd": ["sh", "-c", "dd if=/dev/zero of=/tmp/fill bs=1M"], "limits": {"disk_mb": 8, "wall_clock_secs": 120}'
expect "a run that fills its /tmp is told so" '"termination":"disk_limit"'
run '"cmd": ["yes"], "limits": {"wall_clock_secs": 120}'
expect "a run that prints without end is told so" 'HTTP/1.1 507' 'output limit'
run '"cmd": ["sh", "-c", "dd if=/dev/zero of=/output/fill bs=1M count=24"], "limits": {"wall_clock_secs": 120}, "persist": true'
expect "outputs that the disk has no room for are told" 'HTTP/1.1 200' '"exit_code":0' '"outputs":[]' '"outputs_incomplete":"This host could not write them all."'
result "nothing of them is kept" "$(find $home/files -name fill)"
run '"cmd": ["echo", "42"]'
expect "the next command runs" 'HTTP/1.1 200' '"stdout":"42\n"'

# Eight at once, each of which wants four times what it may have.
for balloon in 1 2 3 4 5 6 7 8; do
    begin $balloon '"cmd": ["dd", "if=/dev/zero", "of=/dev/null", "bs=400M", "count=1"], "limits": {"memory_mb": 96, "wall_clock_secs": 120}'
done
for balloon in 1 2 3 4 5 6 7 8; do
    end $balloon
    case $answer in
        *'"termination":"memory_limit"'* | *"HTTP/1.1 429"*) result "balloon $balloon of eight is told" ;;
        *) result "balloon $balloon of eight is told" "$answer" ;;
    esac
done
fault=
! is_gone || fault="the host is gone: $(tail -n 20 $log; dmesg | tail -n 20)"
result "the host lives" "$fault"
run '"cmd": ["echo", "42"]'
expect "the next command runs" 'HTTP/1.1 200' '"stdout":"42\n"'

stop_host
umount /disk
home=/disk
nothing_left
stop_registry
finish
