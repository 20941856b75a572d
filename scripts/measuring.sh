# shellcheck shell=bash
# What the scripts that measure have in common. They source it from the root of the repository.
set -u -o pipefail
script=$(basename "$0")

fail() { echo "$script: $*" >&2; exit 1; }
say() { echo "$script: $*" >&2; }
now_ms() { echo $(($(date +%s%N) / 1000000)); }
median() { sort -n | awk '{ v[NR] = $1 } END { print NR % 2 ? v[(NR + 1) / 2] : (v[NR / 2] + v[NR / 2 + 1]) / 2 }'; }

# Sets thrust to the binary to measure, and builds it when it is missing.
find_thrust() {
  thrust=${THRUST:-target/release/thrust}
  [ -x "$thrust" ] || cargo build --release -p thrust >&2 || fail "the build failed"
}
# Sets work to the scratch directory, and own_work if it is a new one.
find_work() {
  own_work=
  [ -n "${WORK:-}" ] || { WORK=$(mktemp -d "/tmp/$script.XXXXXX") || fail "cannot make a directory"; own_work=1; }
  work=$WORK
  mkdir -p "$work" || fail "cannot create $work"
}

end() { # pids: ends them, and kills what has not ended after 20 s
  local pid i
  for pid in "$@"; do kill "$pid" 2> /dev/null; done
  for pid in "$@"; do
    for ((i = 0; i < 200; i++)); do kill -0 "$pid" 2> /dev/null || break; sleep 0.1; done
    kill -9 "$pid" 2> /dev/null
    wait "$pid" 2> /dev/null
  done
}
end_java() { # ends the Java nameserver and broker of $work/java
  local file pids=()
  # java-peer writes the files as it goes, so they also know of a start that failed half way.
  for file in "$work"/java/*.pid; do [ ! -f "$file" ] || pids+=("$(cat "$file")"); done
  [ ${#pids[@]} -eq 0 ] || end "${pids[@]}"
  rm -rf "$work/java"
}

# One server in $work/data, process $pid at $broker, whose starts and stops are timed. The script's end kills it.
one_server() {
  broker=127.0.0.1:17911 pid=
  find_thrust
  find_work
  trap '[ -z "$pid" ] || kill -9 "$pid" 2> /dev/null; rm -rf "$work"' EXIT
}
start() { # what: waits for the ready line, at most two minutes
  local began i
  # Nothing of the start before: the new one empties the file when it comes to it.
  : > "$work/ready"
  began=$(now_ms)
  "$thrust" serve --data "$work/data" --nameserver-port 17876 --broker-port 17911 > "$work/ready" 2>> "$work/log" &
  pid=$!
  for ((i = 0; i < 24000; i++)); do
    grep -q ready "$work/ready" && break
    kill -0 "$pid" 2> /dev/null || { tail -5 "$work/log" >&2; pid=; fail "thrust serve has ended"; }
    sleep 0.005
  done
  echo "start $1: $(($(now_ms) - began)) ms"
}
stop() { # signal
  local began
  began=$(now_ms)
  kill "-$1" "$pid"
  wait "$pid" 2> /dev/null
  echo "stop ($1): $(($(now_ms) - began)) ms"
}
