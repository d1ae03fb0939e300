"""The demo's county: its sites, devices, people and patients. Everybody in it is invented."""

from dataclasses import dataclass

from hub.auth.roles import Role
from hub.demo_data.dicom.studies import DemoPatient

CENTRE = "连州片区影像心电共享诊断中心（演示）"
PASSWORD = "demo-2026"  # noqa: S105 - printed on the screen of a throw-away hub

SITES = {
    "DP": "东陂镇分院",
    "LP": "龙坪镇分院",
    "XJ": "西江镇分院",
    "LZ": "连州镇分院",
    "VP": "东陂镇村卫生站",
}

DEVICES = (
    ("DP", "DP_DR", "DR"),
    ("DP", "DP_ECG", "12-lead ECG"),
    ("LP", "LP_CT", "CT"),
    ("XJ", "XJ_US", "US"),
    ("LZ", "LZ_DR", "DR"),
)
"""Site code, AE title, label."""


@dataclass(frozen=True)
class Account:
    """Somebody who can log in."""

    login: str
    name: str
    role: Role
    site: str | None = None


ACCOUNTS = (
    Account("tech", "演示技师", Role.TECHNICIAN, "DP"),
    Account("doctor", "演示乡镇医生", Role.DOCTOR, "DP"),
    Account("village", "演示村医", Role.DOCTOR, "VP"),
    Account("writer", "演示书写医师", Role.WRITER),
    Account("reviewer", "演示审核医师", Role.REVIEWER),
    Account("cardio", "演示心电医师", Role.CARDIOLOGIST),
    Account("director", "演示中心主任", Role.DIRECTOR),
    Account("admin", "演示信息管理员", Role.ADMIN),
    Account("auditor", "演示审计员", Role.AUDITOR),
)

PATIENTS = (
    DemoPatient("D1001", "陈秀英", "F", "19520317"),
    DemoPatient("D1002", "李建国", "M", "19611105"),
    DemoPatient("D1003", "郑伟", "M", "19880924"),
    DemoPatient("D1004", "赵敏", "F", "19750630"),
    DemoPatient("D1005", "刘昞", "M", "19490112"),
    DemoPatient("D1006", "黄玉兰", "F", "19390828"),
    DemoPatient("D1007", "何小妹", "F", "20190514"),
    DemoPatient("D1008", "欧阳志强", "M", "19700219"),
)
"""Names that have given other systems trouble are among them: 郑伟 in GBK reads as Greek in UTF-8."""

QUESTIONS = {
    "chest": "咳嗽、咳痰两周，伴低热",
    "head": "跌倒后头痛半天，有呕吐",
    "leg": "左小腿肿痛一周，无外伤",
    "pain": "大汗，向左肩放射",
    "check": "老年人健康体检",
}
"""Clinical questions on the demo's orders."""
