import time, sys
sys.path.insert(0,'/work/main')
from pathlib import Path
from tests.conftest import *
from tests.gatewaying import settings, deployment
from runtime import invocation_list, workload, census, dead, keys, queue_purge
from runtime.invocation_index import Wanted
from runtime.submit import prepare, now_ms, Call
from runtime import scripts, broker
from runtime.config import StoreSettings
def test_perf(broker_url, redis_client, tmp_path):
    made=settings(broker_url, StoreSettings(), tmp_path); d=deployment(made)
    sha=redis_client.script_load(scripts.source("submit"))
    t=time.time()
    pipe=redis_client.pipeline(transaction=False)
    for n in range(100_000):
        pr=prepare(d, Call("add" if n%100 else "hidden",{"a":n},delay=3600 if n%50==1 else 0), now_ms())
        pipe.evalsha(sha,0,*pr.arguments)
        if n%1000==999: pipe.execute()
    pipe.execute()
    print("fill",time.time()-t, redis_client.info("memory")["used_memory_human"])
    def timed(name,f):
        t=time.perf_counter(); r=f(); print(f"{name}: {(time.perf_counter()-t)*1000:.1f} ms", r if isinstance(r,(int,str)) else "")
        return r
    timed("page all 50",lambda: len(invocation_list.page(redis_client,Wanted()).invocations))
    timed("page hidden 50",lambda: len(invocation_list.page(redis_client,Wanted(function="hidden")).invocations))
    timed("page state=accepted 50",lambda: len(invocation_list.page(redis_client,Wanted(state="accepted")).invocations))
    timed("page state=waiting (full scan 5000)",lambda: len(invocation_list.page(redis_client,Wanted(state="waiting")).invocations))
    timed("page state=queued 200",lambda: len(invocation_list.page(redis_client,Wanted(state="queued"),limit=200).invocations))
    timed("census",lambda: str(census.take(redis_client).states))
    timed("workload",lambda: str([q.queued for q in workload.read(redis_client,made.project).queues][:1]))
    timed("purge 10000",lambda: str(queue_purge.purge(redis_client,d,"default")))
