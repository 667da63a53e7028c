-- wrk script: one billed chat completion a request. KEY, MODEL and STREAM come from the environment; with DIALECT
-- (messages, responses) the same is asked in that.
-- With EXACTLY=N it sends N requests and no more, so that none is cut off when the time is up.
wrk.method = "POST"
local dialect = os.getenv("DIALECT") or ""
wrk.path = dialect == "" and "/v1/chat/completions" or "/v1/" .. dialect
wrk.headers["Content-Type"] = "application/json"
wrk.headers["Authorization"] = "Bearer " .. (os.getenv("KEY") or "none")
local stream = os.getenv("STREAM") == "1" and ',"stream":true' or ""
local system, user = "You are a helpful assistant.", "Explain gradient descent in one paragraph."
local asked = '"messages":[{"role":"system","content":"' .. system .. '"},{"role":"user","content":"' .. user .. '"}],"max_tokens":256'
if dialect == "messages" then
  asked = '"system":"' .. system .. '","messages":[{"role":"user","content":"' .. user .. '"}],"max_tokens":256'
elseif dialect == "responses" then
  asked = '"instructions":"' .. system .. '","input":"' .. user .. '","max_output_tokens":256'
end
wrk.body = '{"model":"' .. os.getenv("MODEL") .. '",' .. asked .. stream .. '}'

local exactly = tonumber(os.getenv("EXACTLY") or "")
if exactly then
  local sent = 0
  -- wrk asks before each request of each connection how long to wait: the last ones wait for ever.
  function delay()
    sent = sent + 1
    return sent > exactly and 1e9 or 0
  end
end

function done(summary, latency, requests)
  local e = summary.errors
  io.write(string.format("RESULT requests=%d rps=%.0f p50_us=%d p99_us=%d errors=%d\n", summary.requests,
    summary.requests / (summary.duration / 1e6), latency:percentile(50), latency:percentile(99),
    e.status + e.connect + e.read + e.write + e.timeout))
end
