-- One of everything that a database of today can hold.
CREATE TABLE customer (
    id INT UNSIGNED NOT NULL AUTO_INCREMENT PRIMARY KEY,
    name VARCHAR(100) NOT NULL COMMENT 'it''s a ; comment -- größe',
    mail VARCHAR(120) AS (CONCAT(LOWER(name), '@shop.example')) STORED,
    initial CHAR(1) AS (LEFT(name, 1)) VIRTUAL,
    kind ENUM('new', 'größe', 'it''s') DEFAULT 'new',
    flags SET('a', 'b', 'c') NULL,
    bits BIT(13) DEFAULT b'1010',
    worth DECIMAL(20, 6) CHECK (worth > -1000),
    ratio DOUBLE, small FLOAT, tiny TINYINT(1),
    doc JSON, since YEAR, at TIME(3), made DATETIME(6) DEFAULT '2026-01-02 03:04:05.678901',
    touched TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP ON UPDATE CURRENT_TIMESTAMP,
    who UUID, host INET6, place POINT,
    boss INT UNSIGNED,
    UNIQUE KEY (mail), KEY (initial), FULLTEXT KEY (name), KEY worth (worth DESC),
    FOREIGN KEY (boss) REFERENCES customer (id) ON DELETE SET NULL
) ENGINE=InnoDB COMMENT='größe 🙂 ''"\\';
INSERT INTO customer (name, kind, flags, worth, ratio, small, tiny, doc, since, at, who, host, place)
    SELECT CONCAT('Kunde ', seq, IF(seq % 7, '', ' 🙂')), ELT(seq % 3 + 1, 'new', 'größe', 'it''s'), ELT(seq % 4 + 1, '', 'a', 'a,c', NULL),
    seq / 7, seq / 3e-300, seq / 4, seq % 2, JSON_OBJECT('n', seq, 'ü', '🙂'), 1970 + seq % 100, SEC_TO_TIME(seq), UUID(),
    '2001:db8::1', POINT(seq, -seq) FROM seq_1_to_20000;
UPDATE customer SET boss = id DIV 10 WHERE id > 10;
INSERT INTO customer (id, name, made) VALUES (4000000000, '', '2026-01-02');

CREATE TABLE orders (
    id BIGINT NOT NULL, customer INT UNSIGNED NOT NULL, day DATE NOT NULL, what VARCHAR(200),
    PRIMARY KEY (id, day)
) ENGINE=InnoDB PARTITION BY RANGE COLUMNS (day) (
    PARTITION p2024 VALUES LESS THAN ('2025-01-01'),
    PARTITION p2025 VALUES LESS THAN ('2026-01-01'),
    PARTITION rest VALUES LESS THAN (MAXVALUE));
INSERT INTO orders SELECT seq, seq % 20000 + 1, '2024-01-01' + INTERVAL seq % 1000 DAY, SHA2(seq, 512) FROM seq_1_to_50000;
CREATE TABLE tallies (n INT NOT NULL PRIMARY KEY, m INT) ENGINE=InnoDB PARTITION BY HASH (n) PARTITIONS 5;
INSERT INTO tallies SELECT seq, seq * 3 FROM seq_1_to_1000;
CREATE TABLE item (
    id INT NOT NULL PRIMARY KEY, owner INT UNSIGNED NOT NULL, price INT NOT NULL, gross INT AS (price * 119 DIV 100) PERSISTENT,
    CONSTRAINT `fk ü` FOREIGN KEY (owner) REFERENCES customer (id) ON DELETE CASCADE ON UPDATE CASCADE
) ENGINE=InnoDB;
INSERT INTO item (id, owner, price) SELECT seq, seq % 20000 + 1, seq * 17 % 1009 FROM seq_1_to_30000;

CREATE TABLE old (id INT, what TEXT, KEY (what(20))) ENGINE=MyISAM DEFAULT CHARSET=latin1 COLLATE=latin1_german1_ci;
INSERT INTO old SELECT seq, CONCAT('größe ', seq) FROM seq_1_to_2000;
CREATE TABLE aria (id INT, what TEXT) ENGINE=Aria;
INSERT INTO aria SELECT seq, MD5(seq) FROM seq_1_to_2000;
CREATE TABLE zero (id INT NOT NULL AUTO_INCREMENT PRIMARY KEY, at DATETIME) ENGINE=InnoDB;
SET @@sql_mode = 'NO_AUTO_VALUE_ON_ZERO';
INSERT INTO zero VALUES (0, '0000-00-00 00:00:00'), (-5, '2026-00-00 00:00:00'), (7, NULL);
SET @@sql_mode = DEFAULT;
CREATE TABLE `-t 'a"``ble ;ü.x` (`col ``'"``` TEXT, `größe` TEXT) ENGINE=InnoDB ROW_FORMAT=COMPRESSED;
INSERT INTO `-t 'a"``ble ;ü.x` VALUES ('-- Dump completed', '\\'), ('\n;\n', NULL), ('', '🙂'), ('/*!50000 x */', 'DELIMITER ;;');
CREATE TABLE bytes (id INT NOT NULL PRIMARY KEY, raw LONGBLOB, packed LONGBLOB COMPRESSED) ENGINE=InnoDB;
INSERT INTO bytes VALUES (-1, 0x000A0D1A275C22FF, NULL), (-2, '', ''), (-3, REPEAT(0x00, 3000000), 'x');
CREATE TABLE past (id INT NOT NULL PRIMARY KEY, what TEXT) ENGINE=InnoDB WITH SYSTEM VERSIONING;
INSERT INTO past VALUES (1, 'a'), (2, 'b');
UPDATE past SET what = 'größe 🙂';
DELETE FROM past WHERE id = 2;
CREATE SEQUENCE numbers START WITH 1000 INCREMENT BY 7 CACHE 10;
DO NEXTVAL(numbers), NEXTVAL(numbers);

CREATE VIEW cheap AS SELECT id, price FROM item WHERE price < 100 WITH CASCADED CHECK OPTION;
CREATE ALGORITHM=MERGE SQL SECURITY INVOKER VIEW `a view ü` AS SELECT c.id, COUNT(*) AS n FROM cheap c GROUP BY c.id;
CREATE TABLE log (at DATETIME(6), what VARCHAR(40), was INT) ENGINE=InnoDB;
DELIMITER //
CREATE TRIGGER first BEFORE INSERT ON item FOR EACH ROW BEGIN IF NEW.price < 0 THEN SET NEW.price = 0; END IF; END //
CREATE TRIGGER second BEFORE INSERT ON item FOR EACH ROW FOLLOWS first BEGIN SET NEW.price = NEW.price + 1; END //
CREATE TRIGGER noted AFTER DELETE ON item FOR EACH ROW INSERT INTO log VALUES (NOW(6), 'größe 🙂; -- //', OLD.id) //
CREATE FUNCTION twice(n INT) RETURNS INT DETERMINISTIC COMMENT 'it''s' RETURN n * 2 //
SET @@sql_mode = 'ANSI_QUOTES' //
CREATE PROCEDURE "busy ü"(IN "how often" INT, OUT done INT) SQL SECURITY INVOKER
BEGIN
    DECLARE CONTINUE HANDLER FOR SQLEXCEPTION SET done = -1;
    SET done = 0; -- a ; comment
    WHILE done < "how often" DO SET done = done + 1; INSERT INTO log VALUES (NOW(6), ';;', done); END WHILE;
END //
SET @@sql_mode = DEFAULT //
CREATE EVENT nightly ON SCHEDULE EVERY 1 DAY STARTS '2037-01-01 03:00:00' COMMENT 'größe 🙂'
    DO BEGIN DELETE FROM log WHERE at < NOW() - INTERVAL 1 YEAR; SELECT ';'; END //
CREATE EVENT never ON SCHEDULE AT '2037-01-01 00:00:00' ON COMPLETION PRESERVE DISABLE DO DELETE FROM log //
DELIMITER ;
