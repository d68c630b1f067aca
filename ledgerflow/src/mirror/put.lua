-- Balances into the hashes of their accounts, where they are newer than what is there.
--
-- KEYS: hash of each entry's account. ARGV: for each entry asset, generation, sequence, JSON.
-- Returns how many were newer.

-- Decimal texts without leading zeros: Lua's numbers end at 2^53.
local function above(a, b)
    if #a ~= #b then return #a > #b end
    return a > b
end

local written = 0
for i, key in ipairs(KEYS) do
    local at = 4 * (i - 1)
    local asset, generation, seq, json = ARGV[at + 1], ARGV[at + 2], ARGV[at + 3], ARGV[at + 4]
    local there = redis.call('HGET', key, asset .. '#version')
    local newer = true
    if there then
        local g, s = string.match(there, '^(%d+):(%d+)$')
        newer = not g or above(generation, g) or (generation == g and above(seq, s))
    end
    if newer then
        redis.call('HSET', key, asset, json, asset .. '#version', generation .. ':' .. seq)
        written = written + 1
    end
end
return written
