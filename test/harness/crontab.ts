/** A stand-in for crontab(1), so that nobody's own table is touched: it keeps the table in the file that $TABLE names. */
export const CRONTAB = `#!/bin/sh
case "$1" in
  -l) if [ -f "$TABLE" ]; then cat "$TABLE"; else echo "no crontab for tester" >&2; exit 1; fi ;;
  -r) rm "$TABLE" ;;
  -) cat > "$TABLE.new"
     if grep -q refuse "$TABLE.new"; then echo "errors in crontab file, can't install" >&2; exit 1; fi
     mv "$TABLE.new" "$TABLE" ;;
esac
`;
