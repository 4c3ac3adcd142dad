# shellcheck shell=sh
# Runs what the kernel command line asks for. Both inits source it (busybox sh and dash) and
# define run_job NAME [ARG...]; ask_all leaves in $status what "ttblk-guest: exit N" reports.
#
#   ttblk.run=NAME[:ARG,ARG...]       a built-in job
#   ttblk.script=PATH[:ARG,ARG...]    a shell script of the host, by hostfs
#
# One word each, without quotes: a kernel command line has awkward ones.

# All in the order given, until one fails. Asking for nothing is a mistake, so it fails too.
ask_all() {
  status=0 asked=0
  set -f
  # shellcheck disable=SC2013 # words are meant
  for word in $(cat /proc/cmdline); do
    case $word in
    ttblk.run=*) ask run_job "${word#*=}" ;;
    ttblk.script=*) ask run_script "${word#*=}" ;;
    esac
    [ "$status" = 0 ] || break
  done
  set +f
  [ "$asked" != 0 ] || refuse "no ttblk.run= or ttblk.script= on the kernel command line"
}

# ask ACTION NAME[:ARG,ARG...]
ask() {
  asked=1
  action=$1 name=${2%%:*} arguments=
  [ "$name" = "$2" ] || arguments=${2#*:}
  IFS=,
  # shellcheck disable=SC2086 # split at the commas; -f is set
  set -- $arguments
  unset IFS
  "$action" "$name" "$@" || status=$?
}

# Says why a job cannot run, with the status a shell gives to a missing command.
refuse() {
  echo "ttblk-guest: $*"
  status=127
  return 127
}

# The host's whole file system is at /host, read-only, so that a script reaches the host's programs.
run_script() {
  script=/host$1
  shift
  [ -e /host/proc ] || mount -t hostfs -o ro none /host || return
  [ -f "$script" ] || { refuse "no such script on the host: ${script#/host}"; return; }
  sh "$script" "$@"
}
