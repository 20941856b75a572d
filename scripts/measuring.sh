# shellcheck shell=bash
# What the scripts that measure have in common. They source it from the root of the repository.
set -u -o pipefail
script=$(basename "$0")

fail() { echo "$script: $*" >&2; exit 1; }
say() { echo "$script: $*" >&2; }
now_ms() { echo $(($(date +%s%N) / 1000000)); }
median() { sort -n | awk '{ v[NR] = $1 } END { print NR % 2 ? v[(NR + 1) / 2] : (v[NR / 2] + v[NR / 2 + 1]) / 2 }'; }

# What was measured, where: one line for the head of a table.
machine() {
  echo "$(date -u +%Y-%m-%d), commit $(git rev-parse --short HEAD 2> /dev/null), $(nproc) cores of$(sed -n 's/^model name[^:]*://p' /proc/cpuinfo | head -1)," \
    "$(awk '/^MemTotal/ { printf "%.0f GiB", $2 / 1048576 }' /proc/meminfo), Linux $(uname -r), load $(cut -d' ' -f1 /proc/loadavg) before the start${CORES_AWAKE:+, processors kept from halting}${WARM_MEMORY:+, memory that is free in use just before}"
}
resident_mib() { awk '/^VmRSS/ { printf "%.1f", $2 / 1024 }' "/proc/$1/status"; }
# The medians of one server of a report of `thrust bench --json`: its number, from 1.
medians() { grep -o '"median":{[^}]*}' "$1" | sed -n "${2:-1}p"; } # FILE [NUMBER]
figure() { medians "$2" "${3:-1}" | grep -o "\"$1\":[0-9.]*" | cut -d: -f2; } # NAME FILE [NUMBER]
# A line of the table that `thrust bench draw` reads, and its head.
curve_head="curve,x,server,messages_per_second,bytes_per_second,p50_us,p99_us,p999_us,cpu_us,generator_cpu_us,resident_bytes"
curve_line() { # CURVE X SERVER FILE [NUMBER]
  local name cells=()
  for name in messages_per_second bytes_per_second latency_p50_us latency_p99_us latency_p999_us \
    server_cpu_us_per_message generator_cpu_us_per_message server_resident_bytes; do
    cells+=("$(figure "$name" "$4" "${5:-1}")")
  done
  (IFS=,; echo "$1,$2,$3,${cells[*]}")
}

# With CORES_AWAKE=1 every script keeps the processors from halting: a loop on each in the kernel's idle class, which gives way to
# everything else at once. Where a halted processor takes 25 to 40 us to come back, as on small virtual machines, the time of
# one request is otherwise the machine's.
if [ -n "${CORES_AWAKE:-}" ]; then
  command -v chrt > /dev/null || fail "CORES_AWAKE needs chrt (util-linux)"
  for _ in $(seq "$(nproc)"); do
    # shellcheck disable=SC2016 # expanded by the loop itself, which ends when the script has
    chrt -i 0 bash -c 'while kill -0 "$1" 2> /dev/null; do for ((i = 0; i < 200000; i++)); do :; done; done' - $$ < /dev/null > /dev/null 2>&1 &
    disown
  done
fi

# With WARM_MEMORY=1 every script writes to the memory that is free, once before each start of our server. A virtual machine may give
# memory that it does not use back to its host, and the first write to a page of it then takes 4 to 15 us, whoever writes: a broker
# whose log always goes on into new pages is measured by its host. One that has run for a while has all memory in use.
warm_memory() {
  local file=/dev/shm/$script.$$ mib room
  mib=$(($(awk '/^MemFree/ { print $2 }' /proc/meminfo) / 1024 - 2048))
  room=$(($(df -Pk /dev/shm | awk 'NR == 2 { print $4 }') / 1024))
  [ "$mib" -le "$room" ] || mib=$room
  [ "$mib" -le 0 ] || dd if=/dev/zero of="$file" bs=1M count="$mib" 2> /dev/null
  rm -f "$file"
}

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

cgroup=''
# Sets cgroup to a new memory cgroup of this many MiB, below the one that this script is in; leaves it empty without one.
cap_memory() { # MIB
  local bytes=$(($1 << 20)) mount path
  cgroup=''
  mount=$(awk '$3 == "cgroup" && $4 ~ /(^|,)memory(,|$)/ { print $2; exit }' /proc/mounts)
  if [ -n "$mount" ]; then
    path=$mount$(sed -n 's/^[0-9]*:[^:]*memory[^:]*://p' /proc/self/cgroup | head -1)/$script.$$
    mkdir "$path" 2> /dev/null && echo "$bytes" > "$path/memory.limit_in_bytes" && cgroup=$path && return
    rmdir "$path" 2> /dev/null
  fi
  mount=$(awk '$3 == "cgroup2" { print $2; exit }' /proc/mounts)
  if [ -n "$mount" ] && grep -qw memory "$mount/cgroup.subtree_control" 2> /dev/null; then
    path=$mount/$script.$$
    mkdir "$path" 2> /dev/null && echo "$bytes" > "$path/memory.max" && cgroup=$path && return
    rmdir "$path" 2> /dev/null
  fi
  say "no memory cgroup can be made here: memory is not capped, and the log's pages are dropped before each round instead"
}
lift_cap() { # when nothing runs in it any more
  [ -z "$cgroup" ] || for _ in 1 2 3 4 5 6 7 8 9 10; do rmdir "$cgroup" 2> /dev/null && break; sleep 0.2; done
  cgroup=''
}
enter_cgroup() { [ -z "$cgroup" ] || echo "$BASHPID" > "$cgroup/cgroup.procs" || say "cannot enter $cgroup"; }

# ThrustMQ and the Java broker beside each other, in $work/thrust and $work/java. The ports are away from the usual ones, so that
# a broker that already runs is not measured by mistake, and below the range that outgoing connections use: a client that tries
# such a port until a server is there can end up connected to itself. PORT is the first of them, where somebody else has those.
two_servers() { # HEAP of the Java broker
  thrust_ns=${PORT:-18876}
  thrust_bp=$((thrust_ns + 35)) java_ns=$((thrust_ns + 1000)) java_bp=$((thrust_ns + 1035))
  ours=127.0.0.1:$thrust_bp theirs=127.0.0.1:$java_bp
  echo_port=$((thrust_ns - 76)) echo_pid=''
  echo=127.0.0.1:$echo_port
  thrust_pid='' java_pid='' version=${JAVA_VERSION:-5.5.0}
  export PEER_LIB=${PEER_LIB:-/tmp/peer} HEAP=${HEAP:-$1}
}
# What only reads requests and answers them: as much as the machine, its loopback and the generator can do together.
start_echo() {
  "$thrust" bench echo --port "$echo_port" > /dev/null &
  echo_pid=$!
  sleep 0.5
  kill -0 "$echo_pid" 2> /dev/null || fail "the echo did not start"
}
end_echo() {
  [ -z "$echo_pid" ] || end "$echo_pid"
  echo_pid=''
}
need_java() {
  JAVA_PEER=${JAVA_PEER:-interop/java-peer}
  export PEER_FLAGS=${PEER_FLAGS:-official}
  [ -x "$JAVA_PEER" ] || fail "JAVA_PEER=$JAVA_PEER is no executable file"
  command -v java > /dev/null || fail "no java found; JDK 17 or newer runs the peer"
  [ -d "$PEER_LIB/$version/lib" ] || say "no jars in $PEER_LIB/$version/lib yet; they are fetched with mvn, which takes minutes"
}
# Sets thrust_pid and ready_ms: from before the fork to the ready line on stdout. Goes on with the data of a stop before.
start_thrust() { # [key=value]...
  local dir=$work/thrust from until line key sets=()
  for key in "$@"; do sets+=(--set "$key"); done
  mkdir -p "$dir"
  [ -z "${WARM_MEMORY:-}" ] || warm_memory
  rm -f "$dir/ready"
  mkfifo "$dir/ready"
  from=$EPOCHREALTIME
  (enter_cgroup; exec "$thrust" serve --data "$dir/data" --nameserver-port "$thrust_ns" --broker-port "$thrust_bp" ${sets[@]+"${sets[@]}"}) \
    > "$dir/ready" 2> "$dir/log" &
  thrust_pid=$!
  exec 3< "$dir/ready"
  read -r -t 30 line <&3 || { tail -5 "$dir/log" >&2; fail "thrust serve did not start, or not in 30 s"; }
  until=$EPOCHREALTIME
  ready_ms=$(awk "BEGIN { printf \"%.1f\", ($until - $from) * 1000 }")
}
stop_thrust() { # and removes its data
  [ -z "$thrust_pid" ] || end "$thrust_pid"
  thrust_pid=''
  rm -rf "$work/thrust"
}
# Sets java_pid and java_ready, a line that says how long it took.
start_java() { # [broker.conf line]...
  mkdir -p "$work/java"
  java_ready=$(enter_cgroup; NS=$java_ns BP=$java_bp "$JAVA_PEER" "$version" "$work/java" "$@" 2>&1 | tail -1) || true
  { [ -f "$work/java/broker.pid" ] && kill -0 "$(cat "$work/java/broker.pid")" 2> /dev/null; } \
    || { tail -5 "$work/java/broker.out" >&2; fail "the Java broker did not start: $java_ready"; }
  java_pid=$(cat "$work/java/broker.pid")
}
end_java() { # ends the Java nameserver and broker of $work/java, and removes their data
  local file pids=()
  # java-peer writes the files as it goes, so they also know of a start that failed half way.
  for file in "$work"/java/*.pid; do [ ! -f "$file" ] || pids+=("$(cat "$file")"); done
  [ ${#pids[@]} -eq 0 ] || end "${pids[@]}"
  rm -rf "$work/java"
}

evict() { # asks the kernel to drop what it has of logs in $work
  local file
  # One file at a time and nothing copied: with these flags dd only asks the kernel to drop what it has of the file.
  find "$work" -path '*commitlog/*' -type f | while read -r file; do dd if="$file" iflag=nocache count=0 2> /dev/null; done
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
