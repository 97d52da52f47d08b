# Runs programs in a folder of its own, one after the other. When standard input ends, be it by the
# kernel because the test process was killed, the program is ended and the folder removed.
#
# In: a line for each program, the signal that ends it and then its command. Out: the folder, and
# for each program its process id, and `ended STATUS`.
# Nobody may be left to hear a report. (Not ignored, which the programs would inherit.)
trap : PIPE
ulimit -c 0
folder=$(mktemp -d "$0/tk-XXXXXX") || exit
exec 3<&0 4>&1 </dev/null >>"$folder/log" 2>&1
echo "$folder" >&4
while read -r signal command <&3; do
    eval "exec $command" 3<&- 4>&- &
    program=$!
    echo "$program" >&4
    # Again and again: the first may come before the program is ready for signals.
    { read -r _ <&3; while kill -s "$signal" "$program"; do sleep 0.2; done; } 4>&- &
    reader=$!
    wait "$program"
    status=$?
    kill "$reader"
    wait "$reader" 2>/dev/null
    echo "ended $status" >&4
done
# A process that the program left behind may still be writing.
for _ in 1 2 3 4 5; do
    rm -rf "$folder" && break
    sleep 1
done
