begin extract
tar --extract --force-local --no-unquote --file="$source" --directory="$target" $compression || failed $?
succeeded extracted
