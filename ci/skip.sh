# Sourced by the scripts of the gate.
#
# skip WHAT: with CI=true, a missing Python, Node or package index is a failure. Elsewhere the gate continues, and lists
# what it skipped at the end (from the file $COFRAME_SKIPPED).
skip() {
    if [ "${CI:-}" = true ]; then
        echo "cannot run here, and with CI=true nothing is skipped: $1" >&2
        exit 1
    fi
    echo "skipped: $1"
    if [ -n "${COFRAME_SKIPPED:-}" ]; then
        printf '%s\n' "$1" >>"$COFRAME_SKIPPED"
    fi
}
