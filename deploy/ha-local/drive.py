"""Kills the leader of a Patroni cluster under the load of Jobshop, and compares what clients were told
with what is there at the end. Started by run.sh; it owns every process that it starts, and nothing else.
"""

import argparse
import json
import os
import pwd
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
import uuid

import psycopg

ETCD, NODES, API = 23790, {"one": (55431, 18081), "two": (55432, 18082)}, 17070
DATABASE = "postgres://jobshop@127.0.0.1:55431,127.0.0.1:55432/jobshop?target_session_attrs=read-write"
FLOW = """
version: 1
name: load
tasks:
  first: { uses: builtin/noop }
  wide: { needs: [first], for_each: [1, 2, 3], tasks: { it: { uses: builtin/noop } } }
  last: { needs: [wide], uses: builtin/noop }
"""
PATRONI = """
scope: jobshop
name: {name}
restapi: {{ listen: "127.0.0.1:{rest}", connect_address: "127.0.0.1:{rest}" }}
etcd3: {{ hosts: ["127.0.0.1:{etcd}"] }}
bootstrap:
  dcs:
    ttl: 20
    loop_wait: 2
    retry_timeout: 5
    synchronous_mode: true
    postgresql:
      use_pg_rewind: true
      use_slots: true
      parameters: {{ max_connections: 100, synchronous_commit: "on", wal_level: replica, hot_standby: "on" }}
  initdb: [ encoding: UTF8, locale: C, data-checksums ]
postgresql:
  listen: 127.0.0.1:{port}
  connect_address: 127.0.0.1:{port}
  data_dir: {dir}/{name}/data
  bin_dir: {bin}
  pgpass: {dir}/{name}/pgpass
  remove_data_directory_on_diverged_timelines: true
  authentication:
    superuser: {{ username: postgres, password: none }}
    replication: {{ username: replicator, password: none }}
    rewind: {{ username: rewinder, password: none }}
  parameters: {{ unix_socket_directories: "{dir}/{name}" }}
  pg_hba: [ "local all all trust", "host all all 127.0.0.1/32 trust", "host replication all 127.0.0.1/32 trust" ]
tags: {{ clonefrom: true }}
"""


class Cluster:
    def __init__(self, args):
        self.args, self.processes = args, {}
        self.user = "postgres" if os.geteuid() == 0 else None
        # A cluster begins anew each time; the environment of Patroni stays.
        for name in ["etcd", *NODES]:
            shutil.rmtree(f"{args.dir}/{name}", ignore_errors=True)
            os.makedirs(f"{args.dir}/{name}", mode=0o700)
            if self.user:
                owner = pwd.getpwnam(self.user)
                os.chown(f"{args.dir}/{name}", owner.pw_uid, owner.pw_gid)

    def spawn(self, name, command):
        log = open(f"{self.args.dir}/{name}.log", "ab")
        self.processes[name] = subprocess.Popen(
            command, stdout=log, stderr=log, stdin=subprocess.DEVNULL, user=self.user,
            group=self.user, extra_groups=[] if self.user else None, cwd="/", start_new_session=True)

    def start_etcd(self):
        url, peer = f"http://127.0.0.1:{ETCD}", f"http://127.0.0.1:{ETCD + 1}"
        self.spawn("etcd", ["etcd", "--data-dir", f"{self.args.dir}/etcd/data", "--listen-client-urls", url,
                            "--advertise-client-urls", url, "--listen-peer-urls", peer,
                            "--initial-advertise-peer-urls", peer, "--initial-cluster", f"default={peer}"])

    def start(self, name):
        port, rest = NODES[name]
        path = f"{self.args.dir}/{name}.yml"
        with open(path, "w") as file:
            file.write(PATRONI.format(name=name, rest=rest, port=port, etcd=ETCD, dir=self.args.dir,
                                      bin=self.args.pg_bin))
        self.spawn(name, [f"{self.args.dir}/venv/bin/patroni", path])

    def members(self):
        for _, rest in NODES.values():
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{rest}/cluster", timeout=2) as answer:
                    return {it["name"]: it for it in json.load(answer)["members"]}
            except (OSError, ValueError):
                continue
        return {}

    def leader(self):
        return next((it["name"] for it in self.members().values() if it["role"] == "leader"), None)

    def has_synchronous_standby(self):
        # What Postgres does, not only what Patroni wants.
        for port, _ in NODES.values():
            try:
                with psycopg.connect(f"host=127.0.0.1 port={port} user=postgres", connect_timeout=2) as db:
                    row = db.execute("select count(*) from pg_stat_replication where sync_state = 'sync'")
                    if row.fetchone()[0] == 1:
                        return True
            except psycopg.Error:
                continue
        return False

    def until(self, what, question, limit=120):
        end = time.monotonic() + limit
        while time.monotonic() < end:
            if question():
                return
            time.sleep(0.2)
        raise TimeoutError(f"waited {limit} s for {what}")

    def kill_machine(self, name):
        """As if its machine lost power: Patroni and the postmaster with all that it started."""
        with open(f"{self.args.dir}/{name}/data/postmaster.pid") as file:
            postmaster = int(file.readline())
        children = subprocess.run(["ps", "-o", "pid=", "--ppid", str(postmaster)], capture_output=True, text=True)
        pids = [self.processes[name].pid, postmaster, *map(int, children.stdout.split())]
        for pid in pids:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        self.processes[name].wait()

    def stop(self):
        for name in [*NODES, "etcd"]:
            process = self.processes.get(name)
            if process and process.poll() is None:
                process.terminate()
                try:
                    process.wait(30)
                except subprocess.TimeoutExpired:
                    process.kill()


class Load:
    def __init__(self, token):
        self.token, self.lock, self.stop = token, threading.Lock(), threading.Event()
        self.acked, self.ended = {}, {}
        self.asked_again, self.last_ack, self.last_end = 0, 0.0, 0.0
        self.acks, self.ends = [], []

    def call(self, method, path, body=None, key=None):
        headers = {"Authorization": f"Bearer {self.token}", "Content-Type": "application/json"}
        if key:
            headers["Idempotency-Key"] = key
        data = json.dumps(body).encode() if body else None
        request = urllib.request.Request(f"http://127.0.0.1:{API}/api/v1{path}", data, headers, method=method)
        with urllib.request.urlopen(request, timeout=15) as answer:
            return json.load(answer)

    def submit(self):
        while not self.stop.is_set():
            key, tries = str(uuid.uuid4()), 0
            # A submission without an answer may have happened: it is said again until there is one.
            while True:
                try:
                    session = self.call("POST", "/sessions", {"definition": FLOW}, key)
                    break
                except (OSError, ValueError):
                    tries += 1
                    time.sleep(0.1)
            with self.lock:
                self.acked[session["id"]] = key
                self.asked_again += tries > 0
                self.acks.append(time.monotonic())
            time.sleep(0.02)

    def watch(self):
        while not self.stop.is_set():
            with self.lock:
                open_ones = [it for it in self.acked if it not in self.ended]
            for session in random.sample(open_ones, min(20, len(open_ones))):
                try:
                    told = self.call("GET", f"/sessions/{session}")
                except (OSError, ValueError):
                    break
                if told["finished_at"]:
                    with self.lock:
                        self.ended[session] = (told["status"], told["finished_at"])
                        self.ends.append(time.monotonic())
            time.sleep(0.05)


def outage(moments, since):
    """How long nothing was answered after the kill: to the first answer after the longest silence."""
    after = sorted(it for it in moments if it > since - 1)
    gaps = [(b - a, b) for a, b in zip(after, after[1:])]
    return max(gaps, default=(0, 0))[0]


def main():
    parser = argparse.ArgumentParser()
    for name in ["dir", "pg-bin", "jobshop"]:
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--submitters", type=int, default=4)
    args = parser.parse_args()
    cluster, jobshops = Cluster(args), {}
    try:
        report = run(args, cluster, jobshops)
    finally:
        for process in jobshops.values():
            if process.poll() is None:
                process.terminate()
        for process in jobshops.values():
            try:
                process.wait(45)
            except subprocess.TimeoutExpired:
                process.kill()
        cluster.stop()
    print(json.dumps(report))
    bad = report["lost_submissions"] or report["lost_ends"] or report["doubled"] or report["exited"] \
        or report["not_completed"] or max(report["outage_s"]) > 25
    sys.exit(1 if bad else 0)


def run(args, cluster, jobshops):
    cluster.start_etcd()
    cluster.start("one")
    cluster.until("a leader", cluster.leader)
    cluster.start("two")
    cluster.until("a synchronous standby", cluster.has_synchronous_standby)
    port = NODES[cluster.leader()][0]
    with psycopg.connect(f"host=127.0.0.1 port={port} user=postgres", autocommit=True) as db:
        db.execute("create role jobshop login")
        db.execute("create database jobshop owner jobshop")
    environment = {"PATH": os.environ["PATH"], "HOME": args.dir, "DATABASE_URL": DATABASE,
                   "JOBSHOP_SANDBOX": "off"}
    for name, command in [("serve", ["serve", "--listen", f"127.0.0.1:{API}"]), ("worker-1", ["worker"]),
                          ("worker-2", ["worker"])]:
        data = f"{args.dir}/jobshop-{name}"
        shutil.rmtree(data, ignore_errors=True)
        log = open(f"{args.dir}/{name}.log", "wb")
        jobshops[name] = subprocess.Popen([args.jobshop, *command], stdout=log, stderr=log, cwd=args.dir,
                                          env={**environment, "JOBSHOP_DATA_DIR": data}, start_new_session=True)
        if name == "serve":
            file = f"{data}/server.json"
            cluster.until("the API", lambda: os.path.exists(file))
            with open(file) as text:
                load = Load(json.load(text)["token"])
    threads = [threading.Thread(target=load.submit) for _ in range(args.submitters)]
    threads += [threading.Thread(target=load.watch) for _ in range(2)]
    for thread in threads:
        thread.start()
    outages, end_outages = [], []
    try:
        for number in range(args.kills):
            cluster.until("a synchronous standby", cluster.has_synchronous_standby)
            time.sleep(random.uniform(4, 7))
            leader, killed = cluster.leader(), time.monotonic()
            cluster.kill_machine(leader)
            answers = len(load.acks)
            cluster.until("another leader", lambda: (it := cluster.leader()) and it != leader)
            cluster.until("a submission", lambda: len(load.acks) > answers and load.acks[-1] > killed + 2)
            time.sleep(2)
            outages.append(round(outage(load.acks, killed), 1))
            end_outages.append(round(outage(load.ends, killed), 1))
            print(f"kill {number + 1} of {leader}: no submission for {outages[-1]} s, no end seen for "
                  f"{end_outages[-1]} s; {len(load.acked)} submitted, {len(load.ended)} ended",
                  file=sys.stderr, flush=True)
            cluster.start(leader)
        cluster.until("a synchronous standby", cluster.has_synchronous_standby)
        time.sleep(2)
    finally:
        load.stop.set()
        for thread in threads:
            thread.join()
    return compare(args, cluster, jobshops, load, (outages, end_outages))


def compare(args, cluster, jobshops, load, outages):
    exited = [name for name, process in jobshops.items() if process.poll() is not None]
    port = NODES[cluster.leader()][0]
    with psycopg.connect(f"host=127.0.0.1 port={port} user=postgres dbname=jobshop", autocommit=True) as db:
        def rows():
            return {str(id): (state, at) for id, state, at in db.execute(
                "select session_id, state, finished_at from session_progress")}
        try:
            cluster.until("every session to end", lambda: all(it[0] >= 5 for it in rows().values()), 180)
        except TimeoutError as late:
            print(late, file=sys.stderr)
        there = rows()
        tasks, twice = db.execute(
            "select count(*), count(*) filter (where attempt > 1) from tasks where flags & 1 = 1").fetchone()
        # Whatever was said twice, each task counts once in its session.
        doubled = db.execute(
            "select count(*) from session_progress p where p.completed <> (select count(*) from tasks t "
            "where t.tenant_id = p.tenant_id and t.session_id = p.session_id and t.flags & 1 = 1 "
            "and t.state = 6)").fetchone()[0]
    changed = 0
    for session, told in load.ended.items():
        now = load.call("GET", f"/sessions/{session}")
        changed += (now["status"], now["finished_at"]) != told
    return {
        "kills": len(outages[0]), "submitted": len(load.acked), "ends_told": len(load.ended), "tasks": tasks,
        "lost_submissions": sum(it not in there for it in load.acked), "lost_ends": changed,
        "doubled": len(there) - len(load.acked) + doubled, "asked_again": load.asked_again,
        "not_completed": sum(state != 5 for state, _ in there.values()), "attempted_twice": twice,
        "outage_s": outages[0], "end_outage_s": outages[1], "exited": exited,
    }


if __name__ == "__main__":
    main()
