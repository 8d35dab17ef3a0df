"""The Lua of tasks/leases.py: each script is one change of state that nobody can get between.

They take every key they touch as KEYS, but for the record of an earlier arrival, and the time from Redis. Redis 6.2 or newer (scripts replicate by effects).
"""

_NOW = "local t = redis.call('TIME'); local now = t[1] * 1000 + math.floor(t[2] / 1000)\n"

# leases many arrivals of one inbox: KEYS from the fifth on are their leases, ARGV from the second on their ids and tokens
OFFER = (
    _NOW
    + """
local due, kept, flight, pause = unpack(KEYS, 1, 4)
local paused = redis.call('GET', pause)

local function offer(lease, id, token)
  if redis.call('SISMEMBER', kept, id) == 1 then return {'kept', 0} end
  if redis.call('EXISTS', lease) == 1 then return {'leased', 0} end
  local score = redis.call('ZSCORE', due, id)
  if score and tonumber(score) > now then return {'waiting', tonumber(score) - now} end
  if paused then return {'paused', redis.call('PTTL', pause)} end
  redis.call('SET', lease, 'published:' .. token, 'PX', ARGV[1])
  redis.call('SADD', flight, id)
  return {'published', 0}
end

local verdicts = {}
for i = 1, #KEYS - 4 do verdicts[i] = offer(KEYS[i + 4], ARGV[2 * i], ARGV[2 * i + 1]) end
return verdicts
"""
)

WITHDRAW = """
local lease, flight = unpack(KEYS)
if redis.call('GET', lease) ~= 'published:' .. ARGV[2] then return 0 end
redis.call('DEL', lease)
redis.call('SREM', flight, ARGV[1])
return 1
"""

# takes back the attempt that an arrival's work counts as, once
_EXCUSE = """
local function excuse(lease, record, token)
  if redis.call('GET', lease) ~= 'working:' .. token then return false end
  if redis.call('HGET', record, 'excused') ~= token then
    if redis.call('HINCRBY', record, 'vanished', -1) < 0 then redis.call('HSET', record, 'vanished', 0) end
    redis.call('HSET', record, 'excused', token)
  end
  return true
end
"""

# begins an attempt; KEYS[4] and [5] and ARGV[5] are lease, record and token of one that only waits for the disk now
BEGIN = (
    _EXCUSE
    + """
local lease, record, flight = unpack(KEYS)
local id, token, ttl, life = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
if KEYS[4] and excuse(KEYS[4], KEYS[5], ARGV[5]) then redis.call('HSET', KEYS[5], 'decoded', ARGV[5]) end
local held = redis.call('GET', lease)
if held and held ~= 'published:' .. token then return false end
redis.call('SET', lease, 'working:' .. token, 'PX', ttl)
redis.call('SADD', flight, id)
local before = redis.call('HGETALL', record)
redis.call('HINCRBY', record, 'vanished', 1)
redis.call('HDEL', record, 'excused', 'decoded')
redis.call('EXPIRE', record, life)
return before
"""
)

# forgets what was remembered of an earlier state of the same file: nobody will ever see that arrival again
_FORGET_EARLIER = """
local function forget_earlier(waits, due, path, id)
  local earlier = redis.call('HGET', waits, path)
  if earlier and earlier ~= id then
    redis.call('DEL', 'thumbdrop:record:' .. earlier)
    redis.call('ZREM', due, earlier)
  end
end
"""

# for what Celery's result store keeps, see tasks/results.py; where Redis refuses that (no memory, no right to publish), the
# lease ends all the same
_STORE = """
local function store(key, text, seconds, earlier_stays)
  if text == '' or earlier_stays and redis.call('EXISTS', key) == 1 then return end
  redis.pcall('SETEX', key, seconds, text)
  redis.pcall('PUBLISH', key, text)
end
"""

# ends pieces of work that finished their arrivals for good: eight KEYS and seven ARGV for each
FINISH = (
    _FORGET_EARLIER
    + _STORE
    + """
for n = 0, #KEYS / 8 - 1 do
  local lease, record, flight, due, kept, counts, waits, result = unpack(KEYS, 8 * n + 1, 8 * n + 8)
  local id, token, keep, path, text, seconds, counted = unpack(ARGV, 7 * n + 1, 7 * n + 7)
  redis.call('DEL', record) -- first, because a Redis without memory lets a script do the rest that has begun to free some
  store(result, text, seconds)
  redis.call('ZREM', due, id)
  forget_earlier(waits, due, path, id)
  redis.call('HDEL', waits, path)
  for outcome in string.gmatch(counted, '%S+') do redis.call('HINCRBY', counts, outcome, 1) end
  if keep == '1' then redis.call('SADD', kept, id) end
  if redis.call('GET', lease) == 'working:' .. token then
    redis.call('DEL', lease)
    redis.call('SREM', flight, id)
  end
end
return 1
"""
)

# ends a piece of work that must be tried again; `failed` names the counter that an attempt moves to, or is empty
PUT_OFF = (
    _NOW
    + _FORGET_EARLIER
    + _STORE
    + """
local lease, record, flight, due, waits, result = unpack(KEYS)
local id, token, wait, failed, life = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5]
if redis.call('GET', lease) ~= 'working:' .. token then return 0 end
store(result, ARGV[10], ARGV[11], ARGV[6] == 'gone')
local excused = redis.call('HGET', record, 'excused') == token
if not excused and redis.call('HINCRBY', record, 'vanished', -1) < 0 then redis.call('HSET', record, 'vanished', 0) end
if failed ~= '' and not (excused and failed == 'vanished') then redis.call('HINCRBY', record, failed, 1) end
redis.call('HDEL', record, 'excused', 'decoded')
if redis.call('HGET', record, 'reason') ~= ARGV[6] then redis.call('HSET', record, 'tries', 0, 'first_at', now) end
redis.call('HINCRBY', record, 'tries', 1)
redis.call('HSET', record, 'reason', ARGV[6], 'message', ARGV[7], 'arrival', ARGV[8])
redis.call('EXPIRE', record, life)
redis.call('ZADD', due, now + wait, id)
forget_earlier(waits, due, ARGV[9], id)
redis.call('HSET', waits, ARGV[9], id)
redis.call('DEL', lease)
redis.call('SREM', flight, id)
return 1
"""
)

# takes back an attempt; `ends` is '1' when the work has ended with that, `only_decoded` when it must have been decoded
EXCUSE = (
    _EXCUSE
    + """
local lease, record, flight = unpack(KEYS)
local id, token, ends, only_decoded = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
if only_decoded == '1' and redis.call('HGET', record, 'decoded') ~= token then return 0 end
if not excuse(lease, record, token) then return 0 end
if ends == '1' then
  redis.call('DEL', lease)
  redis.call('SREM', flight, id)
end
return 1
"""
)

# renews or takes a watcher's hold on an inbox: 2 = taken anew, 1 = renewed, 0 = another holds it
HOLD = """
local held = redis.call('GET', KEYS[1])
if held and held ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
if held then return 1 end
return 2
"""

# gives a hold back, with the report, or somebody would ask a watcher that is gone
RELEASE_HOLD = """
if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1], KEYS[2]) end
return 0
"""
