<?php
// What the extensions of Debian's PHP allocate and free.
$words = [];
for ($i = 0; $i < 20000; ++$i) {
    $word = str_repeat(chr(97 + $i % 26), $i % 300) . $i;
    $words[md5($word)] = ["word" => $word, "list" => range(0, $i % 20)];
}
ksort($words);
echo count($words), " ", sha1(serialize($words)), "\n";
echo sha1(json_encode(json_decode(json_encode($words), true))), "\n";
preg_match_all('/(\d)(\d*)/', implode(" ", array_keys($words)), $found);
echo count($found[0]), "\n";
if (extension_loaded("mbstring")) {
    echo mb_strlen(mb_convert_encoding(str_repeat("größe ", 20000), "UTF-16", "UTF-8"), "UTF-16"), "\n";
}
if (extension_loaded("dom")) {
    $dom = new DOMDocument();
    $dom->loadXML("<r>" . implode("", array_map(fn($i) => "<e n='$i'>t<b/>$i</e>", range(1, 3000))) . "</r>");
    $path = new DOMXPath($dom);
    echo $path->query("//e[@n mod 7 = 0]/b")->length, " ", sha1($dom->saveXML()), "\n";
    $tidy = new DOMDocument();
    echo @$tidy->loadHTML("<p>one<p>two<table><td>three") ? sha1($tidy->saveHTML()) : "no", "\n";
}
if (extension_loaded("pdo_sqlite")) {
    $db = new PDO("sqlite::memory:");
    $db->exec("create table t(i integer, s text)");
    $insert = $db->prepare("insert into t values(?, ?)");
    for ($i = 0; $i < 5000; ++$i) {
        $insert->execute([$i, str_repeat("v", $i % 500)]);
    }
    echo json_encode($db->query("select count(*), sum(length(s)) from t")->fetch(PDO::FETCH_NUM)), "\n";
}
if (extension_loaded("intl")) {
    $sorted = ["z", "ä", "a", "ö", "o"];
    (new Collator("de_DE"))->sort($sorted);
    echo implode($sorted), " ", (new NumberFormatter("de_DE", NumberFormatter::DECIMAL))->format(1234567.8), "\n";
}
if (extension_loaded("gd")) {
    $image = imagecreatetruecolor(300, 200);
    for ($i = 0; $i < 300; ++$i) {
        imageline($image, $i, 0, 299 - $i, 199, imagecolorallocate($image, $i % 256, 80, 255 - $i % 256));
    }
    ob_start();
    imagepng($image);
    echo strlen(ob_get_clean()) > 1000 ? "image\n" : "no image\n";
}
echo gethostbyname("127.0.0.1"), " ", posix_getpid() === getmypid() ? "same" : "other", "\n";
echo trim(shell_exec("echo from a shell")), "\n";
