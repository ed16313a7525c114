"""What the lab's OpenWrt has, and what it has not."""

import asyncssh
import pytest

from .network import Lab
from .options import RouterOptions
from .test_lab import run_by_ssh

FW4, FW3 = RouterOptions(system="openwrt"), RouterOptions(system="openwrt-fw3")
BOTH = pytest.mark.parametrize("router_options", [FW4, FW3], ids=["fw4", "fw3"])
MISSING = (
    "bash dash sudo conntrack ss hostname cksum stat timeout printenv nohup setsid od"
    " realpath install whoami tty perl python3 ip6tables sshd systemctl nsenter unshare"
)


async def run(lab: Lab, command: str) -> str:
    """Run a command as root, by SSH."""
    return await run_by_ssh(lab, command, password=lab.bypass.root_password)


@BOTH
async def test_the_path_holds_busybox_and_the_firewalls_commands(at_home: Lab) -> None:
    """Under whatever name a folder of commands is found; also after a boot."""
    at_home.bypass.reboot()
    listed = await run(
        at_home, "for file in /bin/* /usr/sbin/*; do echo $file $(readlink $file); done"
    )
    links = {line.split()[0]: line.split()[-1] for line in listed.splitlines()}
    others = {
        name.rpartition("/")[2]
        for name, real in links.items()
        if not real.endswith("/busybox")
    }
    expected = {
        "openwrt": {"nft"},
        "openwrt-fw3": {"iptables", "iptables-save", "iptables-restore"},
    }
    assert others == {"dropbear", "dropbearkey", *expected[at_home.options.system]}
    assert len(links) > 90
    found = await run(at_home, f"for name in {MISSING}; do command -v $name; done")
    assert found == ""


@BOTH
async def test_the_login_shell_is_busybox_ash(at_home: Lab) -> None:
    """And so are sh and ip; the system says that it is OpenWrt."""
    said = await run(
        at_home,
        "readlink /proc/$$/exe; sh -c 'readlink /proc/$$/exe'; echo $SHELL; id -u;"
        " ip -V 2>&1 | head -n1; . /etc/os-release; echo $ID $VERSION_ID",
    )
    exe, sh, shell, uid, ip, release = said.splitlines()
    assert exe.endswith("busybox")
    assert sh == exe
    assert (shell, uid) == ("/bin/ash", "0")
    assert "BusyBox" in ip
    assert release.startswith("openwrt 2")
    said = await run(at_home, "iptables -V; nft -v")
    assert "(legacy)" in said or "nftables v" in said
    assert said.count(" v") == 1


@BOTH
async def test_a_key_lets_in_from_its_place_only(at_home: Lab) -> None:
    """Root's are in /etc/dropbear; one in ~/.ssh is not looked for."""
    router = at_home.bypass
    key = asyncssh.generate_private_key("ssh-ed25519")
    public = key.export_public_key().decode().strip()
    await run(at_home, f"mkdir -p ~/.ssh; echo '{public}' >~/.ssh/authorized_keys")
    with pytest.raises(asyncssh.PermissionDenied):
        await run_by_ssh(at_home, "true", client_keys=[key])
    await run(at_home, f"echo '{public}' >>/etc/dropbear/authorized_keys")
    assert router.users.authorized_keys() == f"{public}\n"
    assert await run_by_ssh(at_home, "id -u", client_keys=[key]) == "0"
    other = asyncssh.generate_private_key("ssh-ed25519").export_public_key()
    router.users.authorize(other.decode())
    with pytest.raises(asyncssh.PermissionDenied):
        await run_by_ssh(at_home, "true", client_keys=[key])


@pytest.mark.parametrize("router_options", [FW4])
async def test_dropbear_has_one_host_key_and_shows_it(at_home: Lab) -> None:
    """It is ed25519, where OpenWrt keeps it; no other kind is offered."""
    shown = await run(
        at_home, "dropbearkey -y -f /etc/dropbear/dropbear_ed25519_host_key"
    )
    assert at_home.bypass.host_key() in shown
    # Newer ones just hang up.
    with pytest.raises((asyncssh.Error, ConnectionResetError)):
        await asyncssh.get_server_host_key(
            at_home.bypass.address, config=None, server_host_key_algs=["rsa-sha2-256"]
        )


@BOTH
def test_commands_can_be_put_back_on_an_openwrt(lab: Lab) -> None:
    """What it never had does not come back either."""
    listing = ("sh", "-c", "ls /usr/bin /usr/sbin")
    before = lab.bypass.run(*listing).stdout
    lab.bypass.commands.hide("nft", "iptables*", "awk", "dropbear")
    assert lab.bypass.run(*listing).stdout != before
    lab.bypass.commands.restore()
    assert lab.bypass.run(*listing).stdout == before


@pytest.mark.parametrize("router_options", [FW3])
def test_fw3_leaves_what_is_in_chains_for_the_user(lab: Lab) -> None:
    """A reload takes away what stands in its own."""
    for chain in ("forwarding_rule", "zone_lan_forward"):
        lab.bypass.run("iptables", "-I", chain, "-s", "192.0.2.1", "-j", "ACCEPT")
    lab.bypass.run("iptables", "-N", "MINE")
    before = lab.bypass.iptables_save()
    lab.bypass.firewall.reload()
    gone = set(before.splitlines()) - set(lab.bypass.iptables_save().splitlines())
    assert gone == {"legacy: -A zone_lan_forward -s 192.0.2.1/32 -j ACCEPT"}


def test_an_openwrt_has_no_other_firewall_or_shell() -> None:
    """A router that there is not can't be asked for."""
    with pytest.raises(ValueError, match="its own firewall"):
        RouterOptions(system="openwrt", firewall="ufw")
    with pytest.raises(ValueError, match="own rules can drop INVALID"):
        RouterOptions(system="openwrt", drop_invalid=True)
    assert RouterOptions(system="openwrt", ssh="openssh").ssh == "dropbear"
