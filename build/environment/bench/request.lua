-- One kind of request for wrk, bounded in number, with result lines that a script can read. Set by the environment:
--   BENCH_METHOD, BENCH_TOKEN
--   BENCH_PATH                   `{n}` in it becomes another number in each request
--   BENCH_FIRST, BENCH_MODULO    the number before the first, and how many different ones there are
--   BENCH_BODY, BENCH_TYPE       a file with the body and its media type; no body where empty
--   BENCH_LIMIT                  responses until the end; 0 for as many as the time allows

wrk.method = os.getenv("BENCH_METHOD")
wrk.path = os.getenv("BENCH_PATH")
wrk.headers["Authorization"] = "Bearer " .. os.getenv("BENCH_TOKEN")

local body = os.getenv("BENCH_BODY")
if body ~= "" then
    local file = assert(io.open(body, "rb"))
    wrk.body = file:read("*a")
    file:close()
    wrk.headers["Content-Type"] = os.getenv("BENCH_TYPE")
end

if wrk.path:find("{n}", 1, true) then
    local number, modulo = tonumber(os.getenv("BENCH_FIRST")), tonumber(os.getenv("BENCH_MODULO"))
    function request()
        number = (number + 1) % modulo
        local path = wrk.path:gsub("{n}", string.format("%d", number))
        return wrk.format(nil, path)
    end
end

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

-- What was refused is counted and the first of it kept. Without a limit wrk counts by itself, and does not copy each body for this.
local left = tonumber(os.getenv("BENCH_LIMIT"))
refused = 0
if left > 0 then
    function response(status, _, content)
        if status < 200 or status > 299 then
            refused = refused + 1
            if refused == 1 then
                first = status .. " " .. content:sub(1, 300):gsub("%s+", " ")
            end
        end
        left = left - 1
        if left == 0 then
            ended = now()
            wrk.thread:stop()
        end
    end
end

-- Requests, those that failed, answers a second that were none of these, and the 50th and 99th percentile in milliseconds.
function done(summary, latency)
    local errors, thread = summary.errors, threads[1]
    local ended = thread:get("ended")
    local seconds = ended and ended - thread:get("started") or summary.duration / 1e6
    local status = math.max(errors.status, thread:get("refused"))
    local failed = status + errors.connect + errors.read + errors.write + errors.timeout
    print(string.format(
        "RESULT %d %d %.2f %.3f %.2f",
        summary.requests, failed, (summary.requests - status) / seconds,
        latency:percentile(50) / 1000, latency:percentile(99) / 1000
    ))
    if failed > 0 then
        print(string.format(
            "FAILED connect %d, read %d, write %d, timeout %d, status %d; first: %s", errors.connect, errors.read, errors.write,
            errors.timeout, status, thread:get("first") or "not kept"
        ))
    end
end
