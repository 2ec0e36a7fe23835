-- Dissects Fanlight's datagrams (PROTOCOL.md) in Wireshark, live and in the captures that capture_dir keeps:
--   wireshark -X lua_script:docs/fanlight.lua FILE.pcapng

local fanlight = Proto("fanlight", "Fanlight")

local kinds = {
  [1] = "JOIN", [2] = "CHALLENGE", [3] = "ACCEPT", [4] = "REFUSE", [5] = "KEEP_ALIVE", [6] = "PULSE",
  [7] = "REPAIR", [8] = "RESET", [9] = "GOODBYE", [10] = "SEALED", [11] = "DETECTIONS", [12] = "SCREEN_REPORT",
  [13] = "DIRECT", [14] = "PROGRESS", [16] = "DATA",
}

local f = fanlight.fields
f.kind = ProtoField.uint8("fanlight.kind", "Kind", base.DEC, kinds)
f.body_length = ProtoField.uint16("fanlight.body_length", "Body length")
f.session = ProtoField.uint64("fanlight.session", "Session", base.HEX)
f.counter = ProtoField.uint64("fanlight.counter", "Counter")
f.body = ProtoField.bytes("fanlight.body", "Body")
f.alias = ProtoField.uint16("fanlight.alias", "Stream alias")
f.index = ProtoField.uint16("fanlight.index", "Shard index")
f.shards = ProtoField.uint16("fanlight.shards", "Data shards")
f.parity = ProtoField.uint16("fanlight.parity", "Parity shards")
f.sealed = ProtoField.bool("fanlight.sealed", "Sealed", 8, nil, 0x01)
f.odd_key = ProtoField.bool("fanlight.odd_key", "Odd key generation", 8, nil, 0x02)
f.frame_bytes = ProtoField.uint32("fanlight.frame_bytes", "Bytes of the encoded frame")
f.epoch = ProtoField.uint64("fanlight.epoch", "Epoch", base.HEX)
f.frame = ProtoField.uint64("fanlight.frame", "Frame number")
f.received_us = ProtoField.uint32("fanlight.received_us", "Received by the relay, us")
f.lost_upstream = ProtoField.uint16("fanlight.lost_upstream", "Lost before the relay")
f.lost_in_relay = ProtoField.uint16("fanlight.lost_in_relay", "Lost in the relay")
f.sequence = ProtoField.uint64("fanlight.sequence", "Sequence")
f.checksum = ProtoField.uint32("fanlight.checksum", "Checksum", base.HEX)

local CONTROL_HEADER, SEALED_HEADER, DATA_HEADER, DATA = 12, 20, 52, 16

local function data(tvb, tree)
  if tvb:len() < DATA_HEADER then return "cut short" end
  tree:add(f.alias, tvb(2, 2))
  tree:add(f.index, tvb(4, 2))
  tree:add(f.shards, tvb(6, 2))
  tree:add(f.parity, tvb(8, 2))
  tree:add(f.sealed, tvb(10, 1))
  tree:add(f.odd_key, tvb(10, 1))
  tree:add(f.frame_bytes, tvb(12, 4))
  tree:add(f.epoch, tvb(16, 8))
  tree:add(f.frame, tvb(24, 8))
  tree:add(f.received_us, tvb(32, 4))
  tree:add(f.lost_upstream, tvb(36, 2))
  tree:add(f.lost_in_relay, tvb(38, 2))
  tree:add(f.sequence, tvb(40, 8))
  tree:add(f.checksum, tvb(48, 4))
  return string.format("stream %d frame %s shard %d of %d+%d", tvb(2, 2):uint(), tostring(tvb(24, 8):uint64()),
    tvb(4, 2):uint(), tvb(6, 2):uint(), tvb(8, 2):uint())
end

local function control(tvb, tree, kind)
  if tvb:len() < CONTROL_HEADER then return "cut short" end
  tree:add(f.body_length, tvb(2, 2))
  tree:add(f.session, tvb(4, 8))
  local at = CONTROL_HEADER
  if kinds[kind] == "SEALED" and tvb:len() >= SEALED_HEADER then
    tree:add(f.counter, tvb(12, 8))
    at = SEALED_HEADER
  end
  if tvb:len() > at then tree:add(f.body, tvb(at)) end
  return string.format("session %s", tostring(tvb(4, 8):uint64():tohex()))
end

local function is_fanlight(tvb)
  return tvb:len() >= 2 and tvb(0, 1):uint() == 0xf1 and kinds[tvb(1, 1):uint()] ~= nil
end

function fanlight.dissector(tvb, pinfo, root)
  if not is_fanlight(tvb) then return 0 end
  local kind = tvb(1, 1):uint()
  local tree = root:add(fanlight, tvb())
  tree:add(f.kind, tvb(1, 1))
  local summary = kind == DATA and data(tvb, tree) or control(tvb, tree, kind)
  pinfo.cols.protocol = "Fanlight"
  pinfo.cols.info = kinds[kind] .. " " .. summary
  return tvb:len()
end

DissectorTable.get("udp.port"):add(5004, fanlight)
fanlight:register_heuristic("udp", function(tvb, pinfo, root)
  return is_fanlight(tvb) and fanlight.dissector(tvb, pinfo, root) > 0
end)
