"""The board of exchange: what an administrator sees and does, and who may not."""

import json
import re
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import select

from hub.auth.actor import Actor, PostHeld
from hub.auth.roles import Role
from hub.dicom import commitment, commitment_report, forward_send, nodes
from hub.dicom.commitment import Asked
from hub.dicom.exchange_repository import ForwardRepository
from hub.dicom.models import CommitmentRequest, DicomNode, ForwardTask
from hub.sites.models import Device
from hub.sites.service import DeviceKnown
from hub.web.i18n import catalogue
from tests.dicom.test_forward import add_node, node_row, only_task, plan, run
from tests.fixtures.ports import free_port
from tests.fixtures.storage_nodes import StorageNode
from tests.fixtures.world import DX, World

HOME = "/admin/exchange"
FORM = {"name": "县医院 PACS", "ae_title": "PACS", "host": "127.0.0.1", "port": "104"}


@pytest.mark.parametrize("lang", ["zh-CN", "en"])
def test_every_trouble_has_its_words_and_advice(lang: str) -> None:
    texts = catalogue(lang)
    for kind in ("trouble", "advice"):
        prefix = f"exchange.{kind}."
        assert {key.removeprefix(prefix) for key in texts if key.startswith(prefix)} == nodes.TROUBLES


def test_no_other_word_is_used() -> None:
    """Oracle: what the sources hand over as a trouble."""
    sources = [
        Path(str(one.__file__)).read_text(encoding="utf-8") for one in (forward_send, commitment_report)
    ]
    used = set(
        re.findall(r'(?:Outcome\("\w+", |_note_trouble\(context, left, |return )f?"(\w+)', "".join(sources))
    )
    used |= set(nodes._REFUSALS.values()) | {word for _, word in nodes._CAUSES}
    assert {"store_away", "full", "class_refused", "busy"} <= used
    assert used <= nodes.TROUBLES


class TestNodes:
    def test_a_node_is_registered_changed_and_removed(self, world: World) -> None:
        admin = world.client("admin1")
        site = world.site_ids["DP"]
        form = {**FORM, "forward": "1", "sites": [site], "modalities": ["CT", "DX"]}
        assert admin.post(f"{HOME}/nodes", data=form).headers["location"] == HOME
        with world.context.db.reading() as session:
            node = session.scalars(select(DicomNode)).one()
        assert (node.name, node.port, node.forward_sites) == ("县医院 PACS", 104, [site])
        assert node.forward_modalities == ["CT", "DX"]
        page = admin.get(HOME).text
        assert "县医院 PACS" in page
        assert "东陂镇分院" in page
        edit = admin.get(f"{HOME}/nodes/{node.id}/edit").text
        assert re.search(rf'value="{site}" checked', edit)
        assert admin.post(f"{HOME}/nodes/{node.id}", data={**FORM, "port": "4242"}).status_code == 303
        changed = node_row(world, node.id)
        assert (changed.port, changed.forward, changed.forward_sites) == (4242, False, [])
        assert admin.post(f"{HOME}/nodes/{node.id}/remove").status_code == 303
        assert "尚未登记外部系统" in admin.get(HOME).text

    @pytest.mark.parametrize(
        ("wrong", "said"),
        [
            ({"port": "x"}, "端口为 1 至 65535 的数字"),
            ({"host": "a/b"}, "请填写主机名或 IP 地址"),
            ({"ae_title": "TOO_LONG_FOR_A_TITLE"}, "AE"),
        ],
    )
    def test_a_refused_form_comes_back_with_the_reason(
        self, sqlite_world: World, wrong: dict[str, str], said: str
    ) -> None:
        answer = sqlite_world.client("admin1").post(f"{HOME}/nodes", data={**FORM, **wrong})
        assert answer.status_code == 422
        assert said in answer.text
        assert "县医院 PACS" in answer.text

    def test_the_connection_test_says_what_is_wrong(self, sqlite_world: World) -> None:
        world = sqlite_world
        admin = world.client("admin1")
        closed = add_node(world, "closed")
        assert "该端口没有程序接听" in admin.post(f"{HOME}/nodes/{closed}/echo").text
        with StorageNode().running() as node:
            works = add_node(world, "works", port=node.port)
            assert "连接正常" in admin.post(f"{HOME}/nodes/{works}/echo").text
        with StorageNode(calls_only="OTHER").running() as node:
            title = add_node(world, "title", port=node.port)
            assert "对方不认识所呼叫的 AE 标题" in admin.post(f"{HOME}/nodes/{title}/echo").text

    def test_holding_back_and_letting_go(self, sqlite_world: World) -> None:
        world = sqlite_world
        admin = world.client("admin1")
        node_id = add_node(world)
        assert "已暂停" in admin.post(f"{HOME}/nodes/{node_id}/active", data={"active": "0"}).text
        assert not node_row(world, node_id).active
        admin.post(f"{HOME}/nodes/{node_id}/active", data={"active": "1"})
        assert node_row(world, node_id).active


class TestTasks:
    def test_why_a_study_waits_and_what_to_do(self, sqlite_world: World) -> None:
        world = sqlite_world
        admin = world.client("admin1")
        with StorageNode(classes=("1.2.840.10008.5.1.4.1.1.4",)).running() as node:
            add_node(world, port=node.port)
            plan(world, world.register(instances=2, patient_name="保密某某", local_id="SECRET77"))
            run(world)
        page = admin.get(HOME).text
        assert "对方不接收此类对象" in page
        assert "Digital X-Ray Image Storage - For Presentation" in page
        assert "请对方在存储服务中启用该 SOP 类" in page
        assert "保密某某" not in page, "an administrator does not see who is examined"
        assert "SECRET77" not in page
        task = only_task(world)
        assert "已安排立即发送" in from_header(admin.post(f"{HOME}/tasks/{task.id}/retry"))
        assert only_task(world).state == "waiting"
        admin.post(f"{HOME}/tasks/{task.id}/cancel")
        assert only_task(world).state == "cancelled"

    def test_sending_by_hand(self, sqlite_world: World) -> None:
        world = sqlite_world
        admin = world.client("admin1")
        node_id = add_node(world, forward=False, port=free_port())
        uid = world.register(instances=1)
        answer = admin.post(f"{HOME}/send", data={"study": "1.2.3", "node": node_id})
        assert "没有找到该检查" in from_header(answer)
        assert "已加入发送队列" in from_header(
            admin.post(f"{HOME}/send", data={"study": uid, "node": node_id})
        )
        assert only_task(world).state == "waiting"

    def test_a_dead_node_is_explained_once_and_its_studies_point_at_it(self, sqlite_world: World) -> None:
        world = sqlite_world
        add_node(world)
        plan(world, world.register(instances=1))
        run(world)
        page = world.client("admin1").get(HOME).text
        assert "该端口没有程序接听" in page
        assert "等待该系统恢复连接" in page

    def test_a_site_bound_administrator_sees_the_own_sites_alone(self, sqlite_world: World) -> None:
        world = sqlite_world
        add_node(world)
        for site in ("DP", "LP"):
            plan(world, world.register(site, instances=1))
        post = PostHeld(Role.ADMIN, world.site_ids["DP"], world.clock.now.date() - timedelta(days=1))
        actor = Actor("person", "x", "x", posts=(post,))
        with world.context.db.reading() as session:
            rows = ForwardRepository(session).rows(actor)
            assert len(session.scalars(select(ForwardTask)).all()) == 2
        assert [row.site.code for row in rows] == ["DP"]


class TestCommitments:
    def test_a_report_that_a_device_did_not_get_is_shown_and_can_be_sent(self, sqlite_world: World) -> None:
        world = sqlite_world
        admin = world.client("admin1")
        with world.context.db.transaction() as session:
            device = Device(site_id=world.site_ids["DP"], ae_title="DP_CT", created_at=world.clock())
            session.add(device)
            session.flush()
            known = DeviceKnown(device.id, device.site_id, "DP", None, "DP_CT")
            request = commitment.accept(
                session,
                known,
                Asked("1.2.3", ((DX, "1.2.4"),)),
                calling_ae="DP_CT",
                called_ae="HUB",
                address="127.0.0.1",
                now=world.clock(),
            )
            commitment.not_delivered(session, [request.id], "no_port", now=world.clock())
        world.clock.advance(minutes=2)
        page = admin.get(HOME).text
        assert "未登记该设备的接收端口" in page
        assert f"/admin/devices/{device.id}/edit" in page
        admin.post(f"{HOME}/commitments/{request.id}/retry")
        with world.context.db.reading() as session:
            row = session.scalars(select(CommitmentRequest)).one()
        assert row.next_at == world.clock()


def from_header(answer: object) -> str:
    """The toast of an answer."""
    return str(json.loads(answer.headers["HX-Trigger"])["toast"]["text"])  # type: ignore[attr-defined]
