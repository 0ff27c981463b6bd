-- Tables, strings and coroutines in Lua.
local count, names = {}, {}
for i = 1, 200000 do
  local word = ("%x"):format(i * 7919 % 65521):rep(1 + i % 5)
  if not count[word] then names[#names + 1] = word end
  count[word] = (count[word] or 0) + 1
end
table.sort(names)
local walk = coroutine.wrap(function()
  for _, name in ipairs(names) do coroutine.yield(name) end
end)
local sum, bytes = 0, 0
for name in walk do
  sum = (sum * 31 + name:byte(-1) * count[name]) % 1000000007
  bytes = bytes + #name
end
print(#names, bytes, sum, #table.concat(names, " "):gsub("f+", "-"))
