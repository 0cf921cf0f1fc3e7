#!/bin/sh
# One night's run. What batcher says goes to nightly.log; standard output, which cron mails, gets a
# word only when there is trouble. Exits as batcher does; arguments are handed on to `batcher run`.
cd "$(dirname "$0")" || exit 8
umask 077
log=nightly.log

# Ten megabytes are years of nights; one older log is kept.
if [ -f "$log" ] && [ "$(wc -c <"$log")" -gt 10000000 ]; then
    mv -f "$log" "$log.1"
fi

echo "== $(date '+%Y-%m-%d %H:%M:%S %z')" >>"$log"
batcher run job.toml "$@" >>"$log" 2>&1
code=$?
echo "== exit $code" >>"$log"

case $code in
0) exit 0 ;;
2) say="the job, its settings or its source are wrong; nothing was sent" ;;
3) say="complete, but some rows failed" ;;
4) say="stopped at the budget; the next run goes on once --max-cost is raised" ;;
5) say="the endpoint refuses the account; nothing goes on before that is settled" ;;
6) say="another run of this job was still going, so this one did nothing" ;;
7) say="not complete by the deadline, or the endpoint stayed down; the next run goes on" ;;
8) say="a disk or a file failed; what was paid for is kept, the next run goes on" ;;
130 | 143) say="stopped from outside; the next run goes on" ;;
126 | 127) say="batcher is not on the PATH of this script" ;;
*) say="a bug, or killed; what was paid for is kept, the next run goes on" ;;
esac
echo "nightly: $say (exit $code). The end of $PWD/$log:"
echo
tail -n 12 "$log"
exit "$code"
