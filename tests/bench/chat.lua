-- For wrk: chat requests with a tool, no two alike.
wrk.method = "POST"
wrk.headers["Content-Type"] = "application/json"

local before = '{"model":"gpt-4o","temperature":0,"messages":[{"role":"system","content":"You are a helpful customer support assistant. Use the supplied tools to assist the user."},{"role":"user","content":"Where is order_'
local after = '?"}],"tools":[{"type":"function","function":{"name":"get_delivery_date","parameters":{"type":"object","properties":{"order_id":{"type":"string"}},"required":["order_id"],"additionalProperties":false}}}]}'
local number = 0

request = function()
  number = number + 1
  return wrk.format(nil, "/v1/chat/completions", nil, before .. number .. after)
end
