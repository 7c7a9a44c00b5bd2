# call URL [OPTION...]: the answer's content on standard output. Anyone who has such a URL can use it, so none is in an argument list
# or in the environment, which others may see: curl reads it from a descriptor.
call() {
    url=$1
    shift
    curl -q --config /dev/fd/3 --globoff --silent --show-error --connect-timeout 30 "$@" 3<<END
url = "$url"
END
}

size_of() { stat -L -c %s -- "$1"; }

# refuse STATUS REASON: ends the job for a reason that is no tool's.
refuse() {
    say "$2" >&2
    failed "$1"
}
