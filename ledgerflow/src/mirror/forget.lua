-- Takes away every balance of a slot.
--
-- KEYS: hashes of accounts. ARGV: the slot. Returns how many balances were taken away.

local slot, gone = tonumber(ARGV[1]), 0
for _, key in ipairs(KEYS) do
    for _, asset in ipairs(redis.call('HKEYS', key)) do
        if not string.find(asset, '#', 1, true) then
            local read, balance = pcall(cjson.decode, redis.call('HGET', key, asset))
            if not read or type(balance) ~= 'table' or balance.slot == slot then
                redis.call('HDEL', key, asset, asset .. '#version')
                gone = gone + 1
            end
        end
    end
end
return gone
