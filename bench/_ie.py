import sys,time,tempfile,os
from pathlib import Path
from bench.programs import broker, collector
from bench.isolated import run_isolated
from bench.intake_embedded import publish_and_wait
if __name__=="__main__":
    n=int(sys.argv[1])
    d=Path(tempfile.mkdtemp())
    with broker() as m, collector(d,m.port,{"store":"duckdb","path":str(d/"r.duckdb")}) as c:
        try:
            p=run_isolated(publish_and_wait,m.port,n); print("taken",p.taken_at-p.started_at,"acked",p.acked_at-p.started_at, round(n*100/(p.acked_at-p.started_at)))
            ticks=open(f"/proc/{c.pid}/stat").read().split(); print("collector cpu", (int(ticks[13])+int(ticks[14]))/100)
        except BaseException as e: print(type(e),e)
        import sqlite3, yaml, urllib.request
        port=yaml.safe_load((d/"collector.yaml").read_text())["api"]["port"]
        print([l for l in urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics").read().decode().splitlines() if ("drop" in l or "batches" in l) and not l.startswith("#")])
        q=sqlite3.connect(f"file:{d/'ledger.sqlite'}?mode=ro",uri=True)
        print(q.execute("select state,count(*) from receipts group by 1").fetchall())
        print([r for r in q.execute("select gateway,max(seq),count(*) from receipts group by 1 having count(*)<60").fetchall()][:20])
        print(c.log_tail()[-1500:]); print(m.process.log_tail()[-800:])
