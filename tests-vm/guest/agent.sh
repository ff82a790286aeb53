# Takes commands on the second serial port, one a line: a word, a space, the command, in which \n and \\ stand for a newline
# and a backslash. What it says goes back, and then a line with the word and the exit status.
PATH=/pf/bin:/sbin:/bin:/usr/sbin:/usr/bin:/rescue
export PATH
[ -c /dev/dty01 ] || mknod /dev/dty01 c 8 524289
exec 3<>/dev/dty01
stty raw -echo clocal 115200 <&3
printf 'agent ready\n' >&3
while IFS= read -r line <&3; do
	word=${line%% *}
	command=$(printf %b "${line#* }")
	(eval "$command") </dev/null >&3 2>&1 3>&-
	printf '\n%s %s\n' "$word" "$?" >&3
done
