# Arrays, expansions, subshells and pipes in bash.
declare -A seen
text=""
for i in {1..3000}; do
  word="w$((i * 7919 % 1009))"
  seen[$word]=$((${seen[$word]:-0} + 1))
  text+="$word,"
done
echo "${#seen[@]} words, ${#text} bytes, ${text:1000:40}"
IFS=, read -ra list <<< "$text"
mapfile -t sorted < <(printf '%s\n' "${list[@]}" | sort -u)
echo "${sorted[@]:0:20}"
for i in {1..50}; do total=$(( ${total:-0} + $(echo $((i * i))) )); done
echo "$total ${text//w1/-}" | cksum
trap 'echo bye' EXIT
exit 7
