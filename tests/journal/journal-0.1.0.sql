-- A journal as version 0.1.0 wrote it (commit 9fff5f8).
BEGIN TRANSACTION;
CREATE TABLE batches (
            id TEXT PRIMARY KEY,
            created REAL NOT NULL,     -- Unix time, seconds
            is_sweep INTEGER NOT NULL,
            title TEXT NOT NULL,
            since REAL NOT NULL,       -- pictures older than this do not count
            items TEXT NOT NULL        -- JSON
        , origin TEXT) STRICT;
INSERT INTO "batches" VALUES('batch-1',1767226620.0,0,'2 prompts',0.0,'[{"prompt": "a fox in the snow", "model": "gpt-image-2", "fields": {"aspect_ratio": "4:3", "output_resolution": "2k"}, "count": 1, "sources": [], "service": null, "action": null, "variables": {}}, {"prompt": "make it night", "model": "gpt-image-2", "fields": {}, "count": 1, "sources": [{"label": "a fox in the snow", "digest": "000000000000000000000000000000000000000000000000000000000000014d", "url": null, "path": "/home/user/gpt-images/fox.png", "image": "task-fox-0", "mask": false}], "service": null, "action": null, "variables": {"animal": "fox"}}]','https://runapi.ai');
INSERT INTO "batches" VALUES('sweep-1',1767226680.0,1,'a fox in {style}',1767000000.0,'[{"prompt": "a fox in oil", "model": "gpt-image-2", "fields": {"aspect_ratio": "1:1"}, "count": 1, "sources": [], "service": null, "action": null, "variables": {"style": "oil"}}, {"prompt": "a fox in pixels", "model": "gpt-image-2", "fields": {"aspect_ratio": "1:1"}, "count": 1, "sources": [], "service": null, "action": null, "variables": {"style": "pixels"}}]','https://runapi.ai');
CREATE TABLE budgets (origin TEXT PRIMARY KEY, usd REAL NOT NULL) STRICT;
INSERT INTO "budgets" VALUES('https://runapi.ai',5.0);
CREATE TABLE durations (
            origin TEXT NOT NULL,
            model TEXT NOT NULL,
            action TEXT NOT NULL,
            resolution TEXT NOT NULL,  -- empty: none was asked for
            seconds REAL NOT NULL,     -- from the service's acceptance to the end, its own
            failed INTEGER NOT NULL
        ) STRICT;
INSERT INTO "durations" VALUES('https://runapi.ai','gpt-image-2','text_to_image','2k',12.5,0);
INSERT INTO "durations" VALUES('https://runapi.ai','gpt-image-2','text_to_image','2k',15.0,0);
INSERT INTO "durations" VALUES('https://runapi.ai','gpt-image-2','text_to_image','2k',4.0,1);
CREATE TABLE holds (
            id TEXT PRIMARY KEY,
            owner TEXT NOT NULL,       -- the kernel that took it
            origin TEXT NOT NULL,
            usd REAL NOT NULL
        ) STRICT;
INSERT INTO "holds" VALUES('hold-1','0000000000000001','https://runapi.ai',0.3);
CREATE TABLE images (
            id TEXT PRIMARY KEY,
            task TEXT NOT NULL REFERENCES tasks (id),
            position INTEGER NOT NULL, -- within its task, from 0
            path TEXT NOT NULL,
            digest TEXT NOT NULL,
            width INTEGER NOT NULL,
            height INTEGER NOT NULL,
            parent TEXT,               -- the image that it is an edit of
            saved REAL NOT NULL
        , sharpness REAL, noise REAL, location TEXT) STRICT;
INSERT INTO "images" VALUES('task-fox-0','task-fox',0,'/home/user/gpt-images/fox.png','000000000000000000000000000000000000000000000000000000000000014d',1024,768,NULL,1767225780.0,0.75,0.125,NULL);
INSERT INTO "images" VALUES('task-night-0','task-night',0,'/home/user/gpt-images/night.png','000000000000000000000000000000000000000000000000000000000000021a',1024,768,'task-fox-0',1767225900.0,NULL,NULL,'s3://foxes/night.png');
INSERT INTO "images" VALUES('task-two-0','task-two',0,'/home/user/gpt-images/two-0.png','00000000000000000000000000000000000000000000000000000000000001b7',1024,768,NULL,1767226020.0,NULL,NULL,NULL);
INSERT INTO "images" VALUES('task-two-1','task-two',1,'/home/user/gpt-images/two-1.png','00000000000000000000000000000000000000000000000000000000000001b8',1024,768,NULL,1767226080.0,NULL,NULL,NULL);
CREATE TABLE rates (
            account TEXT PRIMARY KEY,  -- a hash of address and key
            paused_until REAL NOT NULL, -- Unix time, seconds
            spacing REAL NOT NULL,     -- seconds between two requests
            next REAL NOT NULL         -- Unix time, seconds: the next free turn
        ) STRICT;
INSERT INTO "rates" VALUES('account-1',0.0,0.5,1767225600.0);
CREATE TABLE shown_versions (
            notebook TEXT NOT NULL,    -- empty: not known
            cell TEXT NOT NULL,        -- its id; empty: not known
            first TEXT NOT NULL,       -- the image that the cell asked for
            shown TEXT NOT NULL,       -- the image that it shows instead
            PRIMARY KEY (notebook, cell, first)
        ) STRICT;
INSERT INTO "shown_versions" VALUES('foxes.ipynb','cell-1','task-fox-0','task-night-0');
CREATE TABLE tasks (
            id TEXT PRIMARY KEY,
            generation TEXT NOT NULL,  -- the request that works on it, or did last
            origin TEXT NOT NULL,
            created REAL NOT NULL,
            model TEXT NOT NULL,
            prompt TEXT NOT NULL,
            fields TEXT NOT NULL,      -- JSON
            sources TEXT NOT NULL,     -- JSON
            fingerprint TEXT NOT NULL, -- what decides how one picture looks
            count INTEGER NOT NULL,
            idempotency_key TEXT,      -- of the last attempt; NULL: never sent
            family TEXT,
            path TEXT,
            body BLOB,
            status_paths TEXT,         -- JSON
            task_id TEXT,
            state TEXT NOT NULL,
            error TEXT,
            cost REAL,                 -- USD
            seconds REAL,              -- from the request until the service was done
            owner TEXT                 -- the kernel that works on it
        , price REAL, hold TEXT, kernel TEXT, notebook TEXT, service TEXT, action TEXT) STRICT;
INSERT INTO "tasks" VALUES('task-fox','generation-fox','https://runapi.ai',1767225720.0,'gpt-image-2','a fox in the snow','{"aspect_ratio": "4:3", "output_resolution": "2k"}','[]','2a74272426d8cdeec080df14ec830d2193eb881269897272b62f3f8e798721a3',1,'key-fox','namespaced','/api/v1/gpt_image_2/text_to_image',X'7B226D6F64656C223A226770742D696D6167652D32222C2270726F6D7074223A22666F78227D','["/api/v1/gpt_image_2/text_to_image/tsk_fox"]','tsk_fox','saved',NULL,0.06,14.5,NULL,0.06,'hold-1','0000000000000001','foxes.ipynb',NULL,NULL);
INSERT INTO "tasks" VALUES('task-night','generation-night','https://runapi.ai',1767225840.0,'gpt-image-2','make it night','{}','[{"label": "a fox in the snow", "digest": "000000000000000000000000000000000000000000000000000000000000014d", "url": null, "path": "/home/user/gpt-images/fox.png", "image": "task-fox-0", "mask": false}]','a6b4271c46b09beb3a38a423bda3b46f2bbe8f06243e60ace70b7962e41c3994',1,'key-night','namespaced','/api/v1/gpt_image_2/edit_image',X'7B226D6F64656C223A226770742D696D6167652D32222C2270726F6D7074223A226E69676874227D','["/api/v1/gpt_image_2/edit_image/tsk_night"]','tsk_night','saved',NULL,0.06,20.0,NULL,0.06,'hold-1','0000000000000001','foxes.ipynb',NULL,NULL);
INSERT INTO "tasks" VALUES('task-two','generation-two','https://runapi.ai',1767225960.0,'gpt-image-2','two foxes','{}','[]','21d449650e23892fbb01cf80b747c5d7d80007c39fd74ad943ab1b14e4a630ac',2,'key-two','namespaced','/api/v1/gpt_image_2/text_to_image',X'7B226D6F64656C223A226770742D696D6167652D32222C2270726F6D7074223A2274776F227D','["/api/v1/gpt_image_2/text_to_image/tsk_two"]','tsk_two','saved',NULL,0.12,16.0,NULL,0.06,'hold-1','0000000000000001','foxes.ipynb',NULL,NULL);
INSERT INTO "tasks" VALUES('task-running','generation-running','https://runapi.ai',1767226140.0,'gpt-image-2','a running fox','{}','[]','5bd1c0a8f99289f15b69b73b7605d3c2c5e2cd7abb369be975e485accd174bbe',1,'key-running','namespaced','/api/v1/gpt_image_2/text_to_image',X'7B226D6F64656C223A226770742D696D6167652D32222C2270726F6D7074223A2272756E6E696E67227D','["/api/v1/gpt_image_2/text_to_image/tsk_running"]','tsk_running','running',NULL,NULL,NULL,'0000000000000001',0.06,'hold-1','0000000000000001','foxes.ipynb',NULL,NULL);
INSERT INTO "tasks" VALUES('task-unlisted','generation-unlisted','https://runapi.ai',1767226200.0,'nano-banana-pro','a fox of another model','{}','[]','281898610b798662994cb3cea4cf6e297e44f4502598af918b304b53af142ee5',1,'key-unlisted','namespaced','/api/v1/nano_banana_pro/text_to_image',X'7B226D6F64656C223A226770742D696D6167652D32222C2270726F6D7074223A22756E6C6973746564227D','["/api/v1/nano_banana_pro/text_to_image/tsk_unlisted"]','tsk_unlisted','running',NULL,NULL,NULL,'0000000000000001',0.06,'hold-1','0000000000000001','foxes.ipynb','nano_banana_pro','text_to_image');
INSERT INTO "tasks" VALUES('task-completed','generation-completed','https://runapi.ai',1767226260.0,'gpt-image-2','a finished fox','{}','[]','f06c78585f3f953dcddb8f4a7f3a59176a3d4ea00d19f2df6b148e962bd7d813',1,'key-completed','namespaced','/api/v1/gpt_image_2/text_to_image',X'7B226D6F64656C223A226770742D696D6167652D32222C2270726F6D7074223A22636F6D706C65746564227D','["/api/v1/gpt_image_2/text_to_image/tsk_completed"]','tsk_completed','completed',NULL,0.06,11.0,'0000000000000001',0.06,'hold-1','0000000000000001','foxes.ipynb',NULL,NULL);
INSERT INTO "tasks" VALUES('task-sent','generation-sent','https://runapi.ai',1767226320.0,'gpt-image-2','a sent fox','{}','[]','e1439404136c3dfd1b37e0d5b6c3af83aa2acd20badf8c14db6a3a08311ff789',1,'key-sent','namespaced','/api/v1/gpt_image_2/text_to_image',X'7B226D6F64656C223A226770742D696D6167652D32222C2270726F6D7074223A2273656E74227D','["/api/v1/gpt_image_2/text_to_image/{id}"]',NULL,'sent',NULL,NULL,NULL,'0000000000000001',0.06,'hold-1','0000000000000001','foxes.ipynb',NULL,NULL);
INSERT INTO "tasks" VALUES('task-planned','generation-planned','https://runapi.ai',1767226380.0,'gpt-image-2','a planned fox','{}','[]','83623cf534e2a69b5396555f4dfb8a4672ac97957c6a2bc67bb7a80ac2e76813',1,NULL,NULL,NULL,NULL,NULL,NULL,'planned',NULL,NULL,NULL,'0000000000000001',0.06,'hold-1','0000000000000001','foxes.ipynb',NULL,NULL);
INSERT INTO "tasks" VALUES('task-failed','generation-failed','https://runapi.ai',1767226440.0,'gpt-image-2','a failed fox','{}','[]','e71c5862e224cb8a5b740c82ed853a3404560887c79780726667f37b2c68e77a',1,'key-failed','namespaced','/api/v1/gpt_image_2/text_to_image',X'7B226D6F64656C223A226770742D696D6167652D32222C2270726F6D7074223A226661696C6564227D','["/api/v1/gpt_image_2/text_to_image/tsk_failed"]','tsk_failed','failed','The task failed: the model was busy.',NULL,NULL,NULL,0.06,'hold-1','0000000000000001','foxes.ipynb',NULL,NULL);
INSERT INTO "tasks" VALUES('task-refused','generation-refused','https://runapi.ai',1767226500.0,'gpt-image-2','a refused fox','{}','[]','7c9d517474ebf3375235288670abf9410fb1fb55402879d589e03baf9cd71b49',1,NULL,NULL,NULL,NULL,NULL,NULL,'refused','RunAPI did not accept the request (422).',NULL,NULL,NULL,0.06,'hold-1','0000000000000001','foxes.ipynb',NULL,NULL);
INSERT INTO "tasks" VALUES('task-forgotten','generation-forgotten','https://runapi.ai',1767226560.0,'gpt-image-2','a forgotten fox','{}','[]','58c8b72391df14648194a8d3b95452773601013bbdf990bd971d6622ea498de7',1,'key-forgotten','namespaced','/api/v1/gpt_image_2/text_to_image',X'7B226D6F64656C223A226770742D696D6167652D32222C2270726F6D7074223A22666F72676F7474656E227D','["/api/v1/gpt_image_2/text_to_image/{id}"]',NULL,'forgotten','gone',NULL,NULL,NULL,0.06,'hold-1','0000000000000001','foxes.ipynb',NULL,NULL);
CREATE TABLE unseen (image TEXT PRIMARY KEY REFERENCES images (id)) STRICT;
INSERT INTO "unseen" VALUES('task-night-0');
CREATE INDEX tasks_by_fingerprint ON tasks (fingerprint, origin);
CREATE INDEX tasks_unfinished ON tasks (created) WHERE state IN ('planned', 'sent', 'running', 'completed');
CREATE INDEX tasks_by_task_id ON tasks (task_id);
CREATE INDEX tasks_by_generation ON tasks (generation);
CREATE INDEX images_by_task ON images (task);
CREATE INDEX images_by_parent ON images (parent);
CREATE INDEX images_by_digest ON images (digest);
CREATE INDEX images_by_saved ON images (saved);
CREATE INDEX tasks_by_created ON tasks (created);
CREATE INDEX tasks_by_kernel ON tasks (kernel);
CREATE INDEX tasks_by_hold ON tasks (hold);
CREATE INDEX durations_by_kind ON durations (origin, model, action, resolution);
PRAGMA user_version = 9;
COMMIT;
