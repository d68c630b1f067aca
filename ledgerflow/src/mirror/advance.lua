-- A slot's watermark, moved on by whoever has written everything from FROM to TO.
--
-- KEYS: hash of the slot. ARGV: FROM (empty = a rebuild is begun or ended: whatever is there is replaced), generation, TO,
-- then names and values of further fields; an empty value takes the field away.
-- Returns 'moved'; 'ahead': somebody is further; 'gap': what lies before FROM is not known to be here, or nothing is;
-- 'older': the mirror is of a newer generation.

local function above(a, b)
    if #a ~= #b then return #a > #b end
    return a > b
end

local key, from, generation, to = KEYS[1], ARGV[1], ARGV[2], ARGV[3]
if from == '' then
    redis.call('DEL', key)
else
    local there = redis.call('HMGET', key, 'generation', 'offset')
    local g, o = there[1], there[2]
    if not g or not o then return 'gap' end
    if above(g, generation) then return 'older' end
    if g == generation then
        if above(from, o) then return 'gap' end
        if above(o, to) then return 'ahead' end
    end
end
redis.call('HSET', key, 'generation', generation, 'offset', to)
for i = 4, #ARGV, 2 do
    if ARGV[i + 1] == '' then
        redis.call('HDEL', key, ARGV[i])
    else
        redis.call('HSET', key, ARGV[i], ARGV[i + 1])
    end
end
return 'moved'
