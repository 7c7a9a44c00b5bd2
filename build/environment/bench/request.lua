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

-- wrk counts its whole duration even where a thread stopped before, so that the time is taken here.
local ffi = require("ffi")
ffi.cdef("typedef struct { long seconds, microseconds; } bench_time; int gettimeofday(bench_time *, void *);")
local function now()
    local time = ffi.new("bench_time")
    ffi.C.gettimeofday(time, nil)
    return tonumber(time.seconds) + tonumber(time.microseconds) / 1e6
end

local threads = {}
function setup(thread)
    table.insert(threads, thread)
end

function init()
    started = now()
end

function response()
    left = left - 1
    if left == 0 then
        ended = now()
        wrk.thread:stop()
    end
end

-- Requests, those that failed, requests a second, and the 50th and 99th percentile in milliseconds.
function done(summary, latency)
    local errors = summary.errors
    local ended = threads[1]:get("ended")
    local seconds = ended and ended - threads[1]:get("started") or summary.duration / 1e6
    local failed = errors.status + errors.connect + errors.read + errors.write + errors.timeout
    print(string.format(
        "RESULT %d %d %.1f %.3f %.2f",
        summary.requests, failed, summary.requests / seconds,
        latency:percentile(50) / 1000, latency:percentile(99) / 1000
    ))
end
