-- One cell of load for wrk: cycles through the bodies of a file, a line each; prints one line of JSON at the end.
local requests, place = {}, 0

function init(_)
  local headers = { ["Content-Type"] = "application/json" }
  for name, value in string.gmatch(os.getenv("HDX_BENCH_HEADERS") or "", "([^:\n]+):%s*([^\n]+)") do headers[name] = value end
  for line in io.lines(os.getenv("HDX_BENCH_BODIES")) do
    -- A header of this body alone may stand before it.
    local name, value, body = string.match(line, "^([%w-]+): ([^\t]+)\t(.*)$")
    if name then headers[name] = value end
    requests[#requests + 1] = wrk.format("POST", nil, headers, body or line)
  end
end

function request()
  place = place % #requests + 1
  return requests[place]
end

function done(summary, latency, _)
  local errors = summary.errors
  local failed = errors.connect + errors.read + errors.write + errors.status + errors.timeout
  io.write(string.format(
    '\n{"requests": %d, "seconds": %.6f, "failed": %d, "p50_ms": %.4f, "p95_ms": %.4f, "p99_ms": %.4f}\n',
    summary.requests, summary.duration / 1e6, failed,
    latency:percentile(50) / 1e3, latency:percentile(95) / 1e3, latency:percentile(99) / 1e3))
end
