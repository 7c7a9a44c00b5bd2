-- One kind of request for wrk, bounded in number, with a result line that a script can read.
-- Set by the environment: BENCH_METHOD, BENCH_TOKEN, BENCH_BODY, BENCH_LIMIT (requests).

wrk.method = os.getenv("BENCH_METHOD")
wrk.headers["Authorization"] = "Bearer " .. os.getenv("BENCH_TOKEN")
local body = os.getenv("BENCH_BODY")
if body and body ~= "" then
    wrk.body = body
    wrk.headers["Content-Type"] = "application/json"
end

local left = tonumber(os.getenv("BENCH_LIMIT"))

function response()
    left = left - 1
    if left <= 0 then
        wrk.thread:stop()
    end
end

-- Requests, those that failed, requests a second, and the 50th and 99th percentile in milliseconds.
function done(summary, latency)
    local errors = summary.errors
    local failed = errors.status + errors.connect + errors.read + errors.write + errors.timeout
    print(string.format(
        "RESULT %d %d %.1f %.2f %.2f",
        summary.requests, failed, summary.requests / (summary.duration / 1e6),
        latency:percentile(50) / 1000, latency:percentile(99) / 1000
    ))
end
