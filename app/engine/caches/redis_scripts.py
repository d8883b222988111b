"""What a store does in Redis, each step whole or not at all: Lua scripts, whose first argument is what keys begin with.

    <prefix>order    members by last use          a member is: key of the response, NUL, number, space, weight
    <prefix>until    members by when they are over
    <prefix>keys     members by their key
    <prefix>o:<number>    a response: its head h, pieces n, bytes s, stamp p, variant v, tags t, serial c
    <prefix>b:<number>:<i>  piece i of its body
    <prefix>t:<tag>  members that have it
    <prefix>size     bytes of all
    <prefix>purge    how many purges there were; <prefix>purges is the last of them
    <prefix>serial   how many were stored

Times are the server's. What no process takes out goes by itself soon after it is over.
"""

from __future__ import annotations

MOST_PURGES = 1000
"""Purges that are remembered; what was begun before all of them is not stored."""
ROUND = 200
"""Responses that one run takes out at most, for Redis answers nobody else meanwhile."""

_COMMON = b"""\
local P = ARGV[1]
local clock = redis.call('TIME')
local now = clock[1] + clock[2] / 1000000
local function parse(member)
  local nul = #member
  while member:byte(nul) ~= 0 do nul = nul - 1 end
  return member:sub(1, nul - 1), member:sub(nul + 1, nul + 16), tonumber(member:sub(nul + 18))
end
local function drop(member)
  local key, number, weight = parse(member)
  local found = redis.call('HMGET', P .. 'o:' .. number, 'n', 't')
  for i = 0, (tonumber(found[1]) or 0) - 1 do redis.call('UNLINK', P .. 'b:' .. number .. ':' .. i) end
  for tag in (found[2] or ''):gmatch('[^%z]+') do redis.call('SREM', P .. 't:' .. tag, member) end
  redis.call('UNLINK', P .. 'o:' .. number)
  redis.call('ZREM', P .. 'until', member)
  redis.call('ZREM', P .. 'keys', member)
  if redis.call('ZREM', P .. 'order', member) == 1 then redis.call('DECRBY', P .. 'size', weight) end
end
local function under(key)
  return redis.call('ZRANGEBYLEX', P .. 'keys', '[' .. key .. '\\0', '(' .. key .. '\\1')
end
local function total() return tonumber(redis.call('GET', P .. 'size') or 0) end
local function usage() return total(), redis.call('ZCARD', P .. 'order') end
"""

FIND = (
    _COMMON
    + b"""\
local found, room = {}, tonumber(ARGV[3])
for _, member in ipairs(under(ARGV[2])) do
  local _, number = parse(member)
  local has = redis.call('HMGET', P .. 'o:' .. number, 'h', 's', 'n')
  local whole = has[1]
  for i = 0, (tonumber(has[3]) or 0) - 1 do
    if redis.call('EXISTS', P .. 'b:' .. number .. ':' .. i) == 0 then whole = false end
  end
  if whole then
    redis.call('ZADD', P .. 'order', now, member)
    local size, body = tonumber(has[2]), false
    if size <= room then
      room = room - size
      body = size > 0 and redis.call('GET', P .. 'b:' .. number .. ':0') or ''
    end
    found[#found + 1] = {number, has[1], size, body}
  else
    drop(member)
  end
end
return found
"""
)
"""Key, bytes of bodies to give at once -> for each variant: number, head, bytes, body or nil."""

COMMIT = (
    _COMMON
    + b"""\
local key, number, weight, ttl = ARGV[2], ARGV[3], tonumber(ARGV[4]), tonumber(ARGV[5])
local begun, most, variants = tonumber(ARGV[6]), tonumber(ARGV[7]), tonumber(ARGV[8])
local head, size, pieces, stamp, variant, tags = ARGV[9], ARGV[10], tonumber(ARGV[11]), ARGV[12], ARGV[13], ARGV[14]
local member = key .. '\\0' .. number .. ' ' .. weight
local function piece(i) return P .. 'b:' .. number .. ':' .. i end
local function refuse()
  for i = 0, pieces - 1 do redis.call('UNLINK', piece(i)) end
  return {0, 0, usage()}
end
for i = 0, pieces - 1 do
  if redis.call('EXISTS', piece(i)) == 0 then return refuse() end
end
local since = tonumber(redis.call('GET', P .. 'purge') or 0) - begun
if since > MOST_PURGES then return refuse() end
if since > 0 then
  for _, purge in ipairs(redis.call('LRANGE', P .. 'purges', 0, since - 1)) do
    local by, group, value = purge:match('^(.)(%Z*)%z(.*)$')
    if by == 'k' and value == key or by == 'p' and key:sub(1, #value) == value then return refuse() end
    if by == 't' and (group == '' or key:sub(1, #group + 1) == group .. ' ') then
      for tag in tags:gmatch('[^%z]+') do
        if tag == value then return refuse() end
      end
    end
  end
end
local others, first, serial = under(key), nil, nil
local full = #others >= variants
for _, other in ipairs(others) do
  local _, its = parse(other)
  local has = redis.call('HMGET', P .. 'o:' .. its, 'v', 'c')
  if has[1] == variant or not has[1] then
    drop(other)
    full = false
  elseif not serial or tonumber(has[2]) < serial then
    first, serial = other, tonumber(has[2])
  end
end
if full then drop(first) end
redis.call('HSET', P .. 'o:' .. number, 'h', head, 'n', pieces, 's', size, 'p', stamp, 'v', variant, 't', tags,
  'c', redis.call('INCR', P .. 'serial'))
redis.call('PEXPIRE', P .. 'o:' .. number, ttl)
for i = 0, pieces - 1 do redis.call('PEXPIRE', piece(i), ttl) end
redis.call('ZADD', P .. 'order', now, member)
redis.call('ZADD', P .. 'until', now + ttl / 1000, member)
redis.call('ZADD', P .. 'keys', 0, member)
redis.call('INCRBY', P .. 'size', weight)
for tag in tags:gmatch('[^%z]+') do
  local name = P .. 't:' .. tag
  redis.call('SADD', name, member)
  if redis.call('PTTL', name) < ttl then redis.call('PEXPIRE', name, ttl) end
end
local evicted = 0
while total() > most do
  local oldest = redis.call('ZRANGE', P .. 'order', 0, 0)[1]
  drop(oldest)
  evicted = evicted + 1
  if oldest == member then return {0, evicted, usage()} end
end
return {1, evicted, usage()}
""".replace(b"MOST_PURGES", b"%d" % MOST_PURGES)
)
"""Key, number, weight, milliseconds, purges before, most bytes, most variants, head, bytes, pieces, stamp, variant,
tags -> whether it is stored, how many had to go, bytes of all, how many there are."""

UPDATE = (
    _COMMON
    + b"""\
for _, member in ipairs(under(ARGV[2])) do
  local _, number = parse(member)
  local name = P .. 'o:' .. number
  if redis.call('HGET', name, 'p') == ARGV[3] and (ARGV[6] == '' or redis.call('HGET', name, 'h') == ARGV[6]) then
    local ttl = tonumber(ARGV[5])
    redis.call('HSET', name, 'h', ARGV[4])
    redis.call('PEXPIRE', name, ttl)
    for i = 0, tonumber(redis.call('HGET', name, 'n')) - 1 do
      redis.call('PEXPIRE', P .. 'b:' .. number .. ':' .. i, ttl)
    end
    redis.call('ZADD', P .. 'until', now + ttl / 1000, member)
    return 1
  end
end
return 0
"""
)
"""Key, stamp, head, milliseconds, the head before or "" for whatever it is -> whether it is there."""

PURGE = (
    _COMMON
    + b"""\
local by, group, value, soft, after = ARGV[2], ARGV[3], ARGV[4], ARGV[5] == 's', ARGV[6]
if after == '' then
  redis.call('INCR', P .. 'purge')
  redis.call('LPUSH', P .. 'purges', by .. group .. '\\0' .. value)
  redis.call('LTRIM', P .. 'purges', 0, MOST_PURGES - 1)
end
local looked, on = {}, ''
if by == 'k' then
  looked = under(value)
elseif by == 'p' then
  local from = after == '' and '[' .. value or '(' .. after
  looked = redis.call('ZRANGEBYLEX', P .. 'keys', from, ARGV[7], 'LIMIT', 0, ROUND)
  if #looked == ROUND then on = looked[#looked] end
else
  local found = redis.call('SSCAN', P .. 't:' .. value, after == '' and '0' or after, 'COUNT', ROUND)
  on = found[1] ~= '0' and found[1] or ''
  for _, member in ipairs(found[2]) do
    if group == '' or member:sub(1, #group + 1) == group .. ' ' then looked[#looked + 1] = member end
  end
end
local found = {}
for _, member in ipairs(looked) do
  local key, number = parse(member)
  local has = redis.call('HMGET', P .. 'o:' .. number, 'h', 'p')
  if has[1] then found[#found + 1] = soft and {key, has[2], has[1]} or 1 end
  if not soft or not has[1] then drop(member) end
  if by == 't' and not has[1] then redis.call('SREM', P .. 't:' .. value, member) end
end
return {on, found, usage()}
""".replace(b"MOST_PURGES", b"%d" % MOST_PURGES).replace(b"ROUND", b"%d" % ROUND)
)
"""By (k, p, t), group, value, s for soft, where to go on, upper bound of a prefix -> where to go on, what was found: 1,
or key, stamp and head of what has to be made stale; bytes of all, how many there are."""

SWEEP = (
    _COMMON
    + b"""\
for _, member in ipairs(redis.call('ZRANGEBYSCORE', P .. 'until', '-inf', now, 'LIMIT', 0, ROUND)) do drop(member) end
return {usage()}
""".replace(b"ROUND", b"%d" % ROUND)
)
"""-> bytes of all, how many there are, after some of those that are over have gone."""
