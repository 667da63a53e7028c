-- wrk script: one billed chat completion a request, of one key after the other. KEYS (a file, one a line), MODEL and
-- STREAM come from the environment; with DIALECT (messages, responses) the same is asked in that.
-- With EXACTLY=N it sends N requests and no more, so that none is cut off when the time is up.
local dialect = os.getenv("DIALECT") or ""
local path = dialect == "" and "/v1/chat/completions" or "/v1/" .. dialect
local stream = os.getenv("STREAM") == "1" and ',"stream":true' or ""
local system, user = "You are a helpful assistant.", "Explain gradient descent in one paragraph."
local asked = '"messages":[{"role":"system","content":"' .. system .. '"},{"role":"user","content":"' .. user .. '"}],"max_tokens":256'
if dialect == "messages" then
  asked = '"system":"' .. system .. '","messages":[{"role":"user","content":"' .. user .. '"}],"max_tokens":256'
elseif dialect == "responses" then
  asked = '"instructions":"' .. system .. '","input":"' .. user .. '","max_output_tokens":256'
end
local body = '{"model":"' .. os.getenv("MODEL") .. '",' .. asked .. stream .. '}'

-- Written once each: what the client costs is taken from the server.
local requests, last = {}, 0
function init(args)
  for key in io.lines(os.getenv("KEYS")) do
    local headers = { ["Host"] = wrk.headers["Host"], ["Content-Type"] = "application/json", ["Authorization"] = "Bearer " .. key }
    requests[#requests + 1] = wrk.format("POST", path, headers, body)
  end
end

function request()
  last = last % #requests + 1
  return requests[last]
end

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
