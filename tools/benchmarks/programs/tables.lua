-- Trees of tables, strings built piece by piece, and a table of strings.

local function tree(depth)
  if depth == 0 then return {} end
  return {left = tree(depth - 1), right = tree(depth - 1)}
end

local function count(node)
  if not node.left then return 1 end
  return 1 + count(node.left) + count(node.right)
end

local nodes = 0
local kept = tree(16)
for i = 1, 60 do nodes = nodes + count(tree(12)) end

local words = {}
for i = 1, 600000 do
  local key = "key" .. (i * 7919 % 10007)
  words[key] = (words[key] or "") .. string.char(97 + i % 26)
end

local lines = {}
for key, value in pairs(words) do lines[#lines + 1] = key .. "=" .. value:upper() end
table.sort(lines)
local text = table.concat(lines, "\n")
local found = 0
for word in text:gmatch("key%d+") do found = found + #word end
print(nodes + count(kept), #lines, #text, found)
