# What the scripts share: how a process is started and ended, and how Pointsman is told of health. Every process writes
# to run/NAME.log, and its number is in run/NAME.pid.

cd -P "$(dirname "$0")"
mkdir -p run
ENVOY=${ENVOY:-envoy}
export no_proxy='*' # everything here is on this machine

fail() {
    echo "$0: $*" >&2
    exit 1
}

need() { # PROGRAM WAY-OUT
    command -v "$1" >/dev/null || fail "there is no $1 on PATH: $2"
}

show() { # COMMAND...: show it, then run it
    echo "\$ $*"
    "$@"
}

runs() { # NAME: whether it was started here and has not ended
    [ -s "run/$1.pid" ] && [ "$(readlink "/proc/$(cat "run/$1.pid")/cwd")" = "$PWD" ]
}

start() { # NAME URL COMMAND...: start it in the background; done when it answers at URL
    name=$1 url=$2 tries=300 refused=0
    shift 2
    ! runs "$name" || fail "$name runs already, as process $(cat "run/$name.pid"); ./stop.sh ends everything"
    curl -s --max-time 5 -o run/answer "$url" || refused=$?
    [ "$refused" -eq 7 ] || fail "something else listens at $url; stop it, or make another mesh, with" \
        "pointsman quickstart --port-base N"
    echo "\$ $* >>run/$name.log &"
    nohup "$@" >>"run/$name.log" 2>&1 </dev/null &
    echo $! >"run/$name.pid"
    until curl -fs --max-time 5 -o run/answer "$url"; do
        tries=$((tries - 1))
        if ! runs "$name" || [ $tries -eq 0 ]; then
            tail -n 5 "run/$name.log" >&2
            fail "$name does not answer at $url; the lines above are from run/$name.log"
        fi
        sleep 0.1
    done
}

end() { # NAME SIGNAL: done when it has ended; after ten seconds it is killed
    tries=100
    if runs "$1"; then
        show kill "-$2" "$(cat "run/$1.pid")"
        while runs "$1"; do
            tries=$((tries - 1))
            [ $tries -ne 0 ] || kill -KILL "$(cat "run/$1.pid")"
            sleep 0.1
        done
    fi
    rm -f "run/$1.pid"
}

tell() { # EVENT: send events/EVENT.json to Pointsman
    # Of what a source says about a service, that with the greatest Index counts. Here it is the clock, in nanoseconds.
    sed "s/\"Index\": 1/\"Index\": $(date +%s%N)/" "events/$1.json" >"run/$1.json"
    show pointsman emit --url http://127.0.0.1:24201 "run/$1.json"
}

service() { # DATACENTER IP: start s2 there
    start "s2-$1" "http://$2:24206/" python3 service.py "$1" "$2" 24206
}

envoy() { # NAME IP ADMIN-PORT PROXY DATACENTER OPTION...: write its bootstrap, start it
    name=$1 ip=$2 admin=$3 proxy=$4 dc=$5
    shift 5
    set -- pointsman bootstrap "$proxy" --store pointsman.db --dc "$dc" --grpc 127.0.0.1:24202 --admin "$ip:$admin" "$@"
    echo "\$ $* >run/$name.json"
    "$@" >"run/$name.json"
    # Several Envoys on one machine: without --disable-hot-restart each would need a --base-id N of its own. One thread
    # is enough for each of them here.
    start "$name" "http://$ip:$admin/ready" "$ENVOY" -c "run/$name.json" --disable-hot-restart --concurrency 1
}

sidecar() { # SERVICE DATACENTER IP ADMIN-PORT
    envoy "$1-sidecar-$2" "$3" "$4" "$1" "$2" \
        --certificate "certs/$1-$2.pem" --private-key "certs/$1-$2.key" --ca certs/ca.pem
}
