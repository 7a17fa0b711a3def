# Ends a testbed when its owner does, however that ends.
#
# bash supervisor.sh FOLDER. Standard input is a pipe whose other end only the owner holds: at its end, whether the owner
# closed it, panicked or was killed, every process of the group is killed, then what they leave behind is removed: the
# control groups named after the folder, and the folder. The group's number goes to standard output: its leader waits here
# for as long as the group is needed, so that the owner can put every program it starts into the group from its first
# instruction on, and nothing has to be told about them.
set -m
folder=$1
sleep infinity </dev/null >/dev/null 2>&1 &
group=$!
trap '' INT TERM HUP QUIT
echo "$group"
exec >/dev/null 2>&1

while read -r _; do :; done

kill -KILL -- "-$group"
wait
for ((try = 0; try < 500; try++)); do
    # Those that only wait for somebody to take their exit status (Z) are gone.
    cat /proc/[0-9]*/stat | grep -qE "\) [^ZX] [0-9]+ $group " || break
    sleep 0.01
done
for ((try = 0; try < 500; try++)); do
    # Version 1 has a hierarchy per controller, version 2 a single one.
    find /sys/fs/cgroup -maxdepth 2 -type d -name "${folder##*/}" -print0 |
        xargs -0 -r -I{} find {} -depth -type d -exec rmdir {} \;
    [[ -e $folder/keep ]] || rm -rf --one-file-system -- "$folder"
    [[ -e $folder && ! -e $folder/keep ]] || break
    sleep 0.01
done
